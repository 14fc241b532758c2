"""What a plan's own sizes say of the explanations of a failed allocation: which they refute, and which term holds a piece so large."""

from typing import Final

from ullage.domain.cause import Cause, Kind, Log
from ullage.domain.ledger import Amount, Purpose
from ullage.frozen import replace
from ullage.planning.diagnose_facts import Figures
from ullage.planning.diagnose_meaning import TERMS
from ullage.planning.diagnose_others import others_of
from ullage.planning.diagnose_rows import asked_of
from ullage.planning.fit import Outcome
from ullage.units import format_bytes

_OF_STEPS: Final = (Purpose.WORKSPACE, Purpose.ACTIVATIONS, Purpose.LOGITS)


def by_sizes(causes: tuple[Cause, ...], log: Log, figures: Figures, outcome: Outcome | None, device: str | None) -> tuple[Cause, ...]:
    """The causes without those that are inferred and that the plan refutes, each with the term that can hold what was asked for."""
    if outcome is None or device is None:
        return causes
    predicted = {purpose: outcome.ledger.of(device, purpose) for purpose in (*_OF_STEPS, Purpose.WEIGHTS, Purpose.RUNTIME)}
    total = figures.total_bytes or next((seen.total_bytes for seen in outcome.devices if seen.device == device), 0)
    room = total - (others_of(figures) or 0)
    kept = tuple(cause for cause in causes if cause.stated or cause.kind is not Kind.WEIGHTS or not _are_there(predicted, figures, room))
    return tuple(_with_term(cause, log, predicted) for cause in kept or causes)


def _are_there(predicted: dict[Purpose, Amount], figures: Figures, room: int) -> bool:
    """Whether the weights fit on the device alone, and more is held than they take: they were all there when an allocation failed."""
    weights = predicted[Purpose.WEIGHTS].high
    return 0 < weights <= (figures.allocated_bytes or 0) and weights + predicted[Purpose.RUNTIME].high <= room


def _with_term(cause: Cause, log: Log, predicted: dict[Purpose, Amount]) -> Cause:
    """The temporaries of a step by the term that holds a piece as large as failed, where theirs cannot and one other can."""
    asked = asked_of(cause, log, None)
    if asked is None or cause.kind is not Kind.ACTIVATIONS or cause.term is not TERMS[cause.kind]:
        return cause
    made = [purpose for purpose in _OF_STEPS if predicted[purpose].high]
    if not predicted[Purpose.ACTIVATIONS].high and len(made) == 1:
        return replace(cause, term=made[0])  # the engine's temporaries all go by that name
    large = [purpose for purpose in made if predicted[purpose].high >= asked.nbytes]
    if cause.term in large or len(large) != 1:
        return cause
    size = predicted[large[0]]
    says = f"of what a step makes only {large[0].value}, {format_bytes(size.low)} to {format_bytes(size.high)}, holds a piece so large"
    evidence = tuple(replace(item, says=f"{item.says}; {says}") if item.line == asked.line else item for item in cause.evidence)
    return replace(cause, term=large[0], evidence=evidence)
