"""A diagnosis as a document: the cause, the evidence, the rebuilt budget, what to change, and what to ignore."""

from ullage.domain.cause import Budget, Cause, Change, Diagnosis, Evidence, Family, Stage
from ullage.domain.plan import Verdict
from ullage.report import document as doc
from ullage.units import counted, format_bytes, format_gib

_WORDS = {
    Family.CACHE: "CACHE TOO SMALL",
    Family.DEVICE: "OUT OF DEVICE MEMORY",
    Family.OTHERS: "DEVICE NOT FREE",
    Family.HOST: "OUT OF HOST MEMORY",
    Family.ONE_BLOCK: "ALLOCATION LIMIT",
    Family.REQUEST: "REQUEST TOO LONG",
    Family.PRESSURE: "UNDER PRESSURE",
    Family.COMMAND: "COMMAND REFUSED",
    Family.NOT_MEMORY: "NOT MEMORY",
}
_STAGES = {
    Stage.START: "at start, before anything was loaded",
    Stage.LOAD: "while loading",
    Stage.PROFILE: "in the profile run",
    Stage.CACHE: "when the cache was sized or allocated",
    Stage.SAMPLER: "in the sampler's warm-up",
    Stage.CAPTURE: "while graphs were captured",
    Stage.FIRST_PROMPT: "at the first long prompt",
    Stage.UNDER_LOAD: "under load",
    Stage.SHUTDOWN: "at shutdown",
    Stage.UNKNOWN: "at a point the log does not tell",
}
_WAYS = {
    Family.CACHE: "The cache needs more: a larger share, shorter sequences, more devices. Lowering the share makes it worse.",
    Family.DEVICE: "Less has to be taken: a smaller share or pool, smaller steps, fewer sequences. Raising the share makes it worse.",
    Family.OTHERS: "Free the device, or take less of it.",
}
_TERMS = (
    doc.Column("term"),
    doc.Column("predicted", is_number=True),
    doc.Column("measured GiB", is_number=True),
    doc.Column("line", is_number=True),
    doc.Column("the log says"),
)


def diagnosis_document(found: Diagnosis) -> doc.Document:
    """One screen for people."""
    return (
        _verdict(found),
        doc.Paragraph(_question(found)),
        *_causes(found.causes),
        *(_budget(found.budget) if found.budget is not None else ()),
        *_changes(found),
        *_listed("Advice in the log that misleads here", found.misleading),
        *_listed("Not the cause", found.noise),
        *((doc.Heading("Notes"), doc.Items(found.notes)) if found.notes else ()),
    )


def _verdict(found: Diagnosis) -> doc.Verdict:
    if not found.causes:
        return _nothing(found)
    first = found.causes[0]
    lacking = f"; {format_bytes(first.lacking_bytes)} were missing" if first.lacking_bytes else ""
    sure = "" if first.stated else " (inferred)"
    mood = "warn" if first.family in {Family.PRESSURE, Family.REQUEST} else "bad"
    return doc.Verdict(_WORDS[first.family], f"{_STAGES[first.stage]}: {first.summary}{lacking}{sure}", mood)


def _nothing(found: Diagnosis) -> doc.Verdict:
    log = found.log
    lines = counted(log.lines, "line")
    if found.healthy:
        return doc.Verdict("HEALTHY", f"{found.healthy} answers, and nothing that it measures is a failure", "good")
    if found.ended is not None:
        text = f"line {found.ended.line} says that it died, and {lines} hold no reason: {found.ended.text[:80]!r}; give what stands before"
        return doc.Verdict("NO REASON", text, "bad")
    if log.is_unlike:
        return doc.Verdict("NO LOG", f"this does not look like the log of an engine: {lines}", "warn")
    return doc.Verdict("NOTHING FOUND", f"no failure that this program knows in {lines}", "good")


def _question(found: Diagnosis) -> str:
    log = found.log
    engine = f"{log.engine or 'an engine that is not known'}{f' {log.version}' if log.version else ''}"
    model = f", {found.model}" if found.model else ""
    command = f"; the command: {' '.join(found.command)[:200]}" if found.command else ""
    read = counted(log.lines, "line") if log.lines else "what is measured"
    return f"{read} of {engine}{model}{command}"


def _causes(causes: tuple[Cause, ...]) -> tuple[doc.Block, ...]:
    if not causes:
        return ()
    said = tuple(
        f"{cause.kind.value.replace('_', ' ')}: {cause.summary}{'' if cause.stated else ' (inferred)'}. "
        + "; ".join(map(_line, cause.evidence[:3]))
        for cause in causes
    )
    return (doc.Heading("Causes, the likeliest first"), doc.Items(said, numbered=True))


def _line(evidence: Evidence) -> str:
    return f"line {evidence.line}: {evidence.text[:140]!r} ({evidence.says})"


def _budget(budget: Budget) -> tuple[doc.Block, ...]:
    size = f" of {format_bytes(budget.total_bytes)}" if budget.total_bytes is not None else ""
    share = f", of which the engine may fill {format_bytes(budget.limit_bytes)}" if budget.limit_bytes is not None else ""
    asked = f"; {format_bytes(budget.requested_bytes)} were asked for" if budget.requested_bytes is not None else ""
    free = f" with {format_bytes(budget.free_bytes)} free" if budget.free_bytes is not None and budget.requested_bytes is not None else ""
    rows = tuple(
        (
            f"{term.purpose.value}{' <- overflowed' if term.overflowed else ''}",
            f"{format_gib(term.predicted.low)}-{format_gib(term.predicted.high)}" if term.predicted is not None else "",
            format_gib(term.measured) if term.measured is not None else "",
            str(term.line) if term.line is not None else "",
            term.says[:120],
        )
        for term in budget.terms
    )
    return (doc.Heading(f"The budget of {budget.device}{size}{share}{asked}{free}"), *((doc.Table(_TERMS, rows),) if rows else ()))


def _changes(found: Diagnosis) -> tuple[doc.Block, ...]:
    if not found.changes:
        return ()
    way = _WAYS.get(found.causes[0].family)
    return (
        doc.Heading(f"{'Changes' if any(change.also for change in found.changes) else 'Single changes'}, the first to try first"),
        doc.Items(tuple(map(_said, found.changes)), numbered=True),
        *((doc.Paragraph(way),) if way else ()),
    )


def _said(change: Change) -> str:
    known = {Verdict.FITS: "", Verdict.TIGHT: "", None: "; not planned"}.get(change.verdict, "")
    return f"{change.says}; costs {change.cost}{known}"


def _listed(title: str, items: tuple[Evidence, ...]) -> tuple[doc.Block, ...]:
    return (doc.Heading(title), doc.Items(tuple(map(_line, items)))) if items else ()
