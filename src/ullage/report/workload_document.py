"""A counted file of requests for people: what was read, how long its requests are, and a histogram."""

from ullage.domain.survey import Spread, Survey
from ullage.report import document as doc
from ullage.units import counted, format_count

_COLUMNS = (
    doc.Column("tokens of"),
    *(doc.Column(head, is_number=True) for head in ("mean", "min", "p50", "p90", "p95", "p99", "max")),
    doc.Column(""),
)
_BAR = 40
_MOST_FAULTS = 5


def workload_document(survey: Survey) -> doc.Document:
    """One screen for people."""
    exactly = "counted by" if survey.is_exact else "by an"
    rows = tuple(_row(name, spread) for name, spread in _spreads(survey))
    left = counted(survey.records - survey.malformed, "record")
    nothing = (doc.Verdict("NOTHING IS LEFT", f"the filters leave out every one of {left}: give wider ones", "bad"),)
    return (
        *(() if survey.prompt.count else nothing),
        doc.Heading(f"{survey.source}: {counted(survey.prompt.count, 'request')} of {counted(survey.turns.count, 'record')}"),
        doc.Paragraph(f"{survey.format}; {exactly} {survey.tokenizer}; {counted(survey.prompt.count, 'request')}, one for each reply"),
        doc.Table(_COLUMNS, rows),
        *(block for name, spread in _spreads(survey) if name != "turns" for block in _histogram(name, spread)),
        *_left_out(survey),
        doc.Heading("Notes"),
        doc.Items(survey.notes),
    )


def _spreads(survey: Survey) -> tuple[tuple[str, Spread], ...]:
    return (("prompt", survey.prompt), ("answer", survey.output), ("both", survey.total), ("turns", survey.turns))


def _row(name: str, spread: Spread) -> tuple[str, ...]:
    values = (spread.least, spread.p50, spread.p90, spread.p95, spread.p99, spread.most)
    return (name, f"{spread.mean:,.1f}", *(format_count(value) for value in values), "")


def _histogram(name: str, spread: Spread) -> tuple[doc.Block, ...]:
    most = max((count for _, _, count in spread.bars), default=0)
    if not most:
        return ()
    wide = max(len(_label(start, end)) for start, end, _ in spread.bars)
    lines = (f"{_label(start, end):>{wide}} {'#' * -(-count * _BAR // most)} {format_count(count)}" for start, end, count in spread.bars)
    return (doc.Heading(f"Requests by tokens of {name}"), doc.Code("\n".join(lines)))


def _label(start: int, end: int) -> str:
    return format_count(start) if end == start + 1 else f"{format_count(start)}-{format_count(end - 1)}"


def _left_out(survey: Survey) -> tuple[doc.Block, ...]:
    said = [f"{counted(count, 'record')} dropped by {limit}" for limit, count in survey.dropped]
    if survey.rewritten:
        went = f"; {counted(survey.cut_requests, 'request')} of them went with what was cut" if survey.cut_requests > 0 else ""
        said.append(f"{counted(survey.rewritten, 'record')} written anew for being too long{went}")
    if survey.malformed:
        said.append(f"not understood: {format_count(survey.malformed)} of {counted(survey.records, 'record')}")
        said += [f"record {one.record}{f', line {one.line}' if one.line else ''}: {one.why}" for one in survey.faults[:_MOST_FAULTS]]
    return (doc.Heading("Left out or changed"), doc.Items(tuple(said))) if said else ()
