"""A step of a tuning in a sentence: what was changed, what it brought, what it took, and whether it stays."""

from collections.abc import Sequence

from ullage.domain.case import Value
from ullage.domain.ledger import Ledger, Phase
from ullage.domain.tuning import Dial, Estimate, Objective, Point, Study
from ullage.planning.fit import Outcome
from ullage.planning.tune import keeps_up
from ullage.planning.tune_compare import NOTHING_KNOWN, Comparison, Scatter, change, compare
from ullage.units import format_bytes

_NAMES = {Objective.TTFT: "time to the first token"}


def in_words(dials: Sequence[Dial], before: Point | None, after: Point) -> str:
    """The dials that were turned: ``chunk 512 -> 1024``; all of them for the first trial."""
    if before is None:
        return "start at " + ", ".join(f"{dial.setting}={_value(dial.values[at])}" for dial, at in zip(dials, after, strict=True))
    turned = zip(dials, before, after, strict=True)
    return ", ".join(f"{dial.setting} {_value(dial.values[was])} -> {_value(dial.values[now])}" for dial, was, now in turned if was != now)


def _value(value: Value) -> str:
    return "default" if value is None else str(value)


def gain(objective: Objective, before: Estimate, after: Estimate, known: Scatter = NOTHING_KNOWN) -> str:
    """What a step brought, with its 95 % interval: ``+11 % throughput (8 to 14)``."""
    low, middle, high = (100 * part for part in change(before, after, known))
    name = _NAMES.get(objective, "throughput")
    interval = "" if before.count == after.count == 1 else f" ({low:+.0f} to {high:+.0f})"
    return f"{middle:+.0f} % {name}{interval}"


def more_memory(before: Outcome, after: Outcome) -> str:
    """What a step takes of the fullest device, in the phase that peaks: ``+1.90 GiB prefill peak``."""
    device, phase = _peak(after)
    was = before.ledger.peak(device).expected
    step = after.ledger.peak(device).expected - was
    return f"{'+' if step >= 0 else ''}{format_bytes(step)} {phase} peak" if step else "the same peak"


def _peak(outcome: Outcome) -> tuple[str, Phase]:
    fullest = max(outcome.devices, key=lambda seen: seen.peak.expected / max(1, seen.total_bytes))
    return fullest.device, peak_phase(outcome.ledger, fullest.device)


def peak_phase(ledger: Ledger, device: str) -> Phase:
    """The phase in which most is alive on a device."""
    return max(Phase, key=lambda phase: ledger.at(device, phase).expected)


def judged(study: Study, objective: Objective, before: Estimate, after: Estimate, known: Scatter = NOTHING_KNOWN) -> tuple[bool, str]:
    """Whether a step stays, and that in words."""
    if study.ranked:
        is_kept = keeps_up(study, before, after, known)
        return is_kept, "kept" if is_kept else f"slower by more than {1 - study.keeps:.0%}, rolled back"
    shown = compare(before, after, known, more_is_better=objective is not Objective.TTFT, least_gain=study.least_gain)
    if shown is Comparison.BETTER:
        return True, "kept"
    return False, f"{'no difference worth a step is shown' if shown is Comparison.ALIKE else 'worse'}, rolled back"
