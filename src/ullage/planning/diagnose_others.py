"""Other processes on the device of an allocation that failed: whether they explain it, and what they leave us."""

from ullage.catalog.common_hints import OTHER_PROCESSES
from ullage.domain.cause import Cause, Change, Family, Kind, Log
from ullage.domain.ledger import Purpose
from ullage.domain.plan import Verdict
from ullage.frozen import replace
from ullage.planning.diagnose_evidence import cause_of
from ullage.planning.diagnose_facts import Figures, detail
from ullage.units import format_bytes


def with_others_told(causes: tuple[Cause, ...], log: Log, figures: Figures) -> tuple[Cause, ...]:
    """The causes; where others hold at least what was lacking, that they do is one: the first where it is not we who took too much."""
    first = causes[0] if causes else None
    if first is None or first.family is not Family.DEVICE or not first.lacking_bytes:
        return causes
    lines = {item.line for item in first.evidence}
    seen = next((seen for seen in log.sightings if seen.line in lines and detail(seen.fact, "others_bytes")), None)
    others = detail(seen.fact, "others_bytes") if seen is not None else None
    if seen is None or others is None or others < first.lacking_bytes:
        return causes
    own = detail(seen.fact, "in_use_bytes")
    ours = f", this process {format_bytes(own)}" if own is not None else ""
    share = f" of its share of {format_bytes(figures.budget_bytes)}" if own is not None and figures.budget_bytes else ""
    says = f"others hold {format_bytes(others)}{ours}{share}; {format_bytes(first.lacking_bytes)} were missing"
    told = cause_of(seen, Kind.DEVICE_NOT_FREE, first.stage, says=says)
    told = replace(told, lacking_bytes=first.lacking_bytes)
    is_ours = own is None or own > (others if figures.budget_bytes is None else figures.budget_bytes)
    return (first, told, *causes[1:]) if is_ours else (told, *causes)


def left_by_others(figures: Figures) -> Figures:
    """The figures, what is free being all that others do not hold, where an error tells what they do."""
    others = others_of(figures)
    if others is None or figures.total_bytes is None or others >= figures.total_bytes:
        return figures
    return replace(figures, free_bytes=figures.total_bytes - others)


def others_of(figures: Figures) -> int | None:
    """What other processes hold of the device that failed; None where nothing tells."""
    return next((one.nbytes for one in figures.measured if one.purpose is Purpose.OTHERS), None)


def stopped(change: Change, figures: Figures) -> Change:
    """The change; where it is to stop the others, with what that frees, which is at least what was lacking."""
    others = others_of(figures)
    if change.setting != OTHER_PROCESSES or others is None:
        return change
    says = f"{change.says}: frees {format_bytes(others)}, more than was missing"
    return replace(change, says=says, verdict=Verdict.TIGHT, frees_bytes=others)
