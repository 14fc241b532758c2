"""Advice as a document: formats of weights and cache, cards, models."""

from ullage.domain.advice import Advice, CardChoice, FormatAdvice, HardwareAdvice, ModelAdvice, ModelChoice
from ullage.domain.case import Value
from ullage.domain.placement import Parallel
from ullage.report import document as doc
from ullage.report.plan_document import verdict_word
from ullage.units import counted, format_count, format_gib

MOST_CARDS = 24
_MARK = "*"
_NOTE = "note"
_WEIGHTS = (
    doc.Column("weights"),
    doc.Column("GiB", is_number=True),
    doc.Column("frees", is_number=True),
    doc.Column("on the fullest", is_number=True),
    doc.Column("cost"),
    doc.Column("cache a token", is_number=True),
    doc.Column("then"),
    doc.Column("longest", is_number=True),
    doc.Column(_NOTE),
)
_CACHE = (
    doc.Column("cache"),
    doc.Column("bytes a token", is_number=True),
    doc.Column("frees GiB", is_number=True),
    doc.Column("then"),
    doc.Column("tokens held", is_number=True),
    doc.Column("longest", is_number=True),
    doc.Column("cost"),
)
_PARTS = (
    doc.Column("part"),
    doc.Column("GiB", is_number=True),
    doc.Column("bits", is_number=True),
    doc.Column("frees", is_number=True),
    doc.Column("one step narrower"),
)
_CARDS = (
    doc.Column("GB in all", is_number=True),
    doc.Column("count", is_number=True),
    doc.Column("layout"),
    doc.Column("room GiB", is_number=True),
    doc.Column("longest", is_number=True),
    doc.Column("cards"),
)
_MODELS = (
    doc.Column("billions", is_number=True),
    doc.Column("GiB", is_number=True),
    doc.Column("cache a token", is_number=True),
    doc.Column("longest", is_number=True),
    doc.Column("then"),
    doc.Column("model"),
)


def advice_document(advice: Advice) -> doc.Document:
    """What was asked for, in one order."""
    return (
        *(_formats(advice.formats) if advice.formats is not None else ()),
        *(_hardware(advice.hardware) if advice.hardware is not None else ()),
        *(_models(advice.models) if advice.models is not None else ()),
    )


def layout_word(parallel: Parallel) -> str:
    """``tp4 pp2``; ``1 device`` where nothing is divided."""
    degrees = (("tp", parallel.tensor), ("pp", parallel.pipeline), ("dp", parallel.data))
    return " ".join(f"{name}{degree}" for name, degree in degrees if degree > 1) or "1 device"


def changes_word(changes: tuple[tuple[str, Value], ...]) -> str:
    """``with gpu_split=auto``, or nothing."""
    return "with " + ", ".join(f"{name}={value}" for name, value in changes) if changes else ""


def _formats(advice: FormatAdvice) -> tuple[doc.Block, ...]:
    weights = tuple(
        (
            f"{_MARK if row.is_widest else ' '} {row.word or row.scheme}",
            format_gib(row.weight_bytes),
            format_gib(row.freed_bytes),
            format_gib(row.device_freed_bytes),
            row.cost.value,
            f"{format_count(row.cache_bytes_per_token)} {'changed' if row.changes_cache else 'as before'}",
            verdict_word(row.verdict),
            format_count(row.max_context_tokens),
            "; ".join(part for part in ("as planned" if not row.word else "", changes_word(row.changes)) if part),
        )
        for row in advice.weights
    )
    cache = tuple(
        (
            f"{_MARK if row.is_widest else ' '} {f'{row.setting}={row.value}' if row.setting else row.value}",
            format_count(row.bytes_per_token),
            format_gib(row.freed_bytes),
            verdict_word(row.verdict),
            format_count(row.kv_tokens),
            format_count(row.max_context_tokens),
            row.cost,
        )
        for row in advice.cache
    )
    parts = tuple(
        (
            part.name,
            format_gib(part.nbytes),
            f"{part.bits:.2f}" if part.bits is not None else "-",
            format_gib(part.frees_bytes),
            part.narrower or "no scheme or setting of this engine touches it",
        )
        for part in advice.components
    )
    return (
        doc.Heading(f"Formats at {format_count(advice.context_tokens)} tokens (* the widest that fits)"),
        doc.Table(_WEIGHTS, weights),
        doc.Table(_CACHE, cache),
        doc.Heading("Mixed precision: the parts, and one step narrower for each"),
        doc.Table(_PARTS, parts),
        doc.Items(advice.notes),
    )


def _asked(context: int, sequences: int) -> str:
    return f"{counted(sequences, 'sequence')} of {format_count(context)} tokens"


def _card(row: CardChoice) -> tuple[str, ...]:
    with_changes = changes_word(row.changes)
    return (
        format_count(row.total_nominal_gb),
        format_count(row.count),
        layout_word(row.parallel),
        format_gib(row.room_bytes),
        format_count(row.max_context_tokens),
        ", ".join(row.names) + (f"; {with_changes}" if with_changes else ""),
    )


def _hardware(advice: HardwareAdvice) -> tuple[doc.Block, ...]:
    title = doc.Heading(f"Cards that hold {_asked(advice.context_tokens, advice.concurrent_sequences)}: the fewest of each")
    if not advice.cards:
        return (title, doc.Paragraph(f"None of the known cards does, up to {advice.largest_count} of each."))
    more = len(advice.cards) - MOST_CARDS
    said = [f"{more} more rows with more memory: --json lists them"] if more > 0 else []
    if advice.too_small:
        said.append(f"not with {advice.largest_count} of each: {', '.join(advice.too_small)}")
    return (title, doc.Table(_CARDS, tuple(_card(row) for row in advice.cards[:MOST_CARDS])), *((doc.Items(tuple(said)),) if said else ()))


def _model(row: ModelChoice, kv_before: int) -> tuple[str, ...]:
    share = f" ({row.kv_bytes_per_token / kv_before:.0%})" if kv_before else ""
    return (
        f"{row.parameters / 1e9:,.1f}",
        format_gib(row.weight_bytes),
        f"{format_count(row.kv_bytes_per_token)}{share}",
        format_count(row.max_context_tokens),
        verdict_word(row.verdict),
        row.name + (" (same family)" if row.is_related else ""),
    )


def _models(advice: ModelAdvice) -> tuple[doc.Block, ...]:
    asked = _asked(advice.context_tokens, advice.concurrent_sequences)
    title = doc.Heading(f"Other models as {advice.scheme} that hold {asked} here; cache a token against this model's")
    if not advice.models:
        return (title, doc.Paragraph("None of the bundled models does."))
    return (title, doc.Table(_MODELS, tuple(_model(row, advice.kv_bytes_per_token) for row in advice.models)))
