"""A comparison as a document: one table, the best first, then what is not possible and why."""

from ullage.domain.advice import Candidate, Comparison, NotPossible
from ullage.report import document as doc
from ullage.report.advice_document import changes_word, layout_word
from ullage.report.plan_document import verdict_word
from ullage.units import counted, format_count, format_gib

MOST_ROWS = 40
_COLUMNS = (
    doc.Column("", is_number=True),
    doc.Column("then"),
    doc.Column("engine"),
    doc.Column("weights"),
    doc.Column("layout"),
    doc.Column("cost"),
    doc.Column("GiB", is_number=True),
    doc.Column("longest", is_number=True),
    doc.Column("at once", is_number=True),
    doc.Column("room GiB", is_number=True),
    doc.Column("note"),
)


def compare_document(comparison: Comparison) -> doc.Document:
    """One screen or two for people."""
    length = f"{format_count(comparison.context_tokens)} tokens" if comparison.context_tokens is not None else "the longest context"
    title = f"{len(comparison.candidates)} ways to hold {counted(comparison.concurrent_sequences, 'sequence')} of {length}"
    rows = tuple(_row(number, row) for number, row in enumerate(comparison.candidates[:MOST_ROWS], 1))
    more = len(comparison.candidates) - MOST_ROWS
    return (
        doc.Heading(f"{title}: verdict first, then {comparison.objective}, then cost"),
        doc.Table(_COLUMNS, rows),
        *((doc.Paragraph(f"{more} more follow: --json lists them."),) if more > 0 else ()),
        *((doc.Heading("Not possible"), doc.Items(_refused(comparison.refused))) if comparison.refused else ()),
    )


def _row(number: int, row: Candidate) -> tuple[str, ...]:
    return (
        str(number),
        verdict_word(row.verdict),
        f"{row.engine} {row.version}",
        row.word or row.scheme,
        layout_word(row.parallel),
        row.cost.value,
        format_gib(row.weight_bytes),
        format_count(row.max_context_tokens),
        format_count(row.max_sequences),
        format_gib(row.room_bytes),
        changes_word(row.changes),
    )


def _refused(refused: tuple[NotPossible, ...]) -> tuple[str, ...]:
    """A line for every engine and reason, its schemes together."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    for one in refused:
        lines.setdefault((one.engine, one.version, one.why), []).append(one.scheme)
    return tuple(f"{engine} {version}, {', '.join(schemes)}: {why}" for (engine, version, why), schemes in lines.items())
