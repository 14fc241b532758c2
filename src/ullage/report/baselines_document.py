"""Stored runs and their comparison for people."""

from collections.abc import Iterator, Sequence

from ullage.domain.baseline import Run, Seen
from ullage.planning.change import shown
from ullage.planning.drift import judge_drift
from ullage.planning.regress import Change, Contrast
from ullage.report import document as doc
from ullage.units import counted, format_bytes, format_count, format_gib

_LIST = (
    doc.Column("id"),
    doc.Column("started (UTC)"),
    doc.Column("engine"),
    doc.Column("ended"),
    doc.Column("peak GiB", is_number=True),
    doc.Column("model"),
)
_TERMS = (
    doc.Column("device"),
    doc.Column("purpose"),
    doc.Column("phase"),
    doc.Column("p50", is_number=True),
    doc.Column("p95", is_number=True),
    doc.Column("most GiB", is_number=True),
    doc.Column("promised"),
)
_CHANGES = (
    doc.Column("device"),
    doc.Column("purpose"),
    doc.Column("phase"),
    doc.Column("before", is_number=True),
    doc.Column("expected", is_number=True),
    doc.Column("after", is_number=True),
    doc.Column("allowed", is_number=True),
    doc.Column(""),
)


def list_document(runs: Sequence[Run], engine: str = "") -> doc.Document:
    """A line for each run, which are all of ``engine`` where one is said."""
    if not runs and engine:
        return (doc.Paragraph(f"No run of {engine} is stored. `ullage baselines list` without --engine shows all."),)
    if not runs:
        return (
            doc.Paragraph(
                "No run is stored yet. `ullage serve` and `ullage tune` store theirs; `ullage baselines import FILE` adds others."
            ),
        )
    rows = tuple(
        (
            run.id,
            f"{run.started_at:%Y-%m-%d %H:%M}",
            f"{run.engine} {run.version}",
            run.exit.value.replace("_", " "),
            format_gib(peak) if (peak := max((run.peak_bytes(one.device) for one in run.seen), default=0)) else "-",
            f"{run.model.name} as {run.model.scheme}",
        )
        for run in runs
    )
    return (doc.Heading(counted(len(runs), "stored run")), doc.Table(_LIST, rows))


def run_document(run: Run) -> doc.Document:
    """One run: what it was, every term promised next to seen, and what happened."""
    said = tuple(_facts(run))
    rows = tuple(_term(run, one) for one in run.seen)
    return (
        doc.Heading(f"{run.id}: {run.engine} {run.version}, {run.model.name} as {run.model.scheme}"),
        doc.Items(said),
        *((doc.Heading("Seen"), doc.Table(_TERMS, rows)) if rows else (doc.Paragraph("Nothing was seen of its memory."),)),
        *_settings(run),
    )


def _settings(run: Run) -> tuple[doc.Block, ...]:
    settings = tuple(f"{name} = {shown(value)}" for name, value in run.settings.items)
    return (doc.Heading("Settings"), doc.Items(settings)) if settings else ()


def _facts(run: Run) -> Iterator[str]:
    ended = f" to {run.ended_at:%Y-%m-%d %H:%M} UTC" if run.ended_at is not None else " UTC"
    yield f"{run.started_at:%Y-%m-%d %H:%M}{ended}: {run.exit.value.replace('_', ' ')}"
    driver = f", driver {run.machine.driver}" if run.machine.driver else ""
    yield f"on {', '.join(one.name for one in run.machine.devices) or 'the host'}{driver}"
    context, load = run.workload.context_tokens, run.workload.concurrent_sequences
    yield f"planned for {format_count(load)} at once of {format_count(context) if context is not None else 'the whole length in'} tokens"
    for device in dict.fromkeys(one.device for one in run.seen if one.purpose is None):
        if others := run.others_bytes(device):
            yield f"everything on {device} counts {format_bytes(others)} of other processes, as they were when it was planned"
    for one in run.growth:
        yield f"{one.device} grew by {one.bytes_per_token:,.0f} bytes a token, from {one.from_tokens:,} to {one.to_tokens:,} tokens"
    for event in run.out_of_memory:
        wanted = f" for {format_bytes(event.wanted_bytes)}" if event.wanted_bytes is not None else ""
        yield f"out of memory on {event.device}{wanted}: {event.text or 'no message'}"
    yield from (f"{one.name}: {one.value:,.2f} {one.unit}".rstrip() for one in run.figures)
    if run.note:
        yield run.note


def _purpose(one: Seen | Change) -> str:
    if isinstance(one, Change) and one.per_token:
        return "bytes a token"
    return one.purpose.value if one.purpose is not None else "everything"


def _term(run: Run, seen: Seen) -> tuple[str, ...]:
    promised = run.promise(seen.device, seen.purpose, seen.phase)
    against = ""
    if promised is not None:
        drift = judge_drift(promised, seen.full_bytes)
        off = f" by {format_bytes(drift.beyond_bytes)}" if drift.beyond_bytes else ""
        missing = f", with the {format_bytes(seen.missing_bytes)} of cache that nobody had asked for" if seen.missing_bytes else ""
        against = f"{format_bytes(promised.low)} to {format_bytes(promised.high)}: {drift.standing.value}{off}{missing}"
    sizes = (format_gib(nbytes) for nbytes in (seen.p50_bytes, seen.p95_bytes, seen.most_bytes))
    return (seen.device, _purpose(seen), seen.phase.value, *sizes, against)


def contrast_document(contrast: Contrast) -> doc.Document:
    """What grew, then every term before and after."""
    rows = tuple(_change(change) for change in contrast.changes)
    return (
        _verdict(contrast),
        doc.Paragraph(f"before: {_side(contrast.before)}"),
        doc.Paragraph(f"after: {_side(contrast.after)}"),
        *((doc.Heading("Not the same question"), doc.Items(contrast.differences)) if contrast.differences else ()),
        *((doc.Heading("Terms"), doc.Table(_CHANGES, rows)) if rows else (doc.Paragraph("No term was seen in both."),)),
    )


def _side(runs: Sequence[Run]) -> str:
    return f"{runs[0].engine} {runs[0].version}, {', '.join(run.id for run in runs)}"


def _verdict(contrast: Contrast) -> doc.Verdict:
    if contrast.failures:
        return doc.Verdict("REGRESSION", "; ".join(contrast.failures), "bad")
    if contrast.is_empty:
        return doc.Verdict("NOT COMPARED", f"no term of memory was seen on both sides{_unseen(contrast)}", "bad")
    if not contrast.grown:
        return doc.Verdict("NO REGRESSION", f"none of {len(contrast.changes)} terms grew beyond its bounds", "good")
    return doc.Verdict("REGRESSION", _grew(contrast.grown[0]), "bad")


def _unseen(contrast: Contrast) -> str:
    blind = [run.id for run in (*contrast.before, *contrast.after) if not run.tells_memory]
    return f": nothing was seen of the memory of {', '.join(blind)}; name other runs (`ullage baselines list`)" if blind else ""


def _grew(change: Change) -> str:
    if change.per_token:
        return f"{change.device} takes {change.after_bytes:,} bytes a token, and took {change.before_bytes:,}"
    return (
        f"{_purpose(change)} in {change.phase.value} on {change.device} grew by {format_bytes(change.grew_bytes)} to "
        f"{format_bytes(change.after_bytes)}; {format_bytes(change.allowed_bytes)} more would be chance"
    )


def _change(change: Change) -> tuple[str, ...]:
    write = format_count if change.per_token else format_bytes
    sizes = (write(nbytes) for nbytes in (change.before_bytes, change.base_bytes, change.after_bytes, change.allowed_bytes))
    sign = "grew" if change.is_regression else "less" if change.grew_bytes < -change.allowed_bytes else "same"
    return (change.device, _purpose(change), change.phase.value, *sizes, sign)
