"""A step of a tuning in a sentence: what was changed, what it brought, what it took, and whether it stays."""

from collections.abc import Sequence

from ullage.domain.case import Value
from ullage.domain.ledger import Ledger, Phase
from ullage.domain.tuning import Ask, Dial, Ended, Objective, Point, Shown, Study, Told
from ullage.planning.fit import Outcome
from ullage.planning.tune import ask, keeps_up
from ullage.planning.tune_duel import Standing, Verdict, standing, verdict
from ullage.units import counted, format_bytes

_TWO = 2  # one start of each
_NAMES = {Objective.TTFT: "time to the first token"}


def in_words(dials: Sequence[Dial], before: Point | None, after: Point) -> str:
    """The dials that were turned: ``chunk 512 -> 1024``; all of them for the first trial."""
    if before is None:
        return "start at " + ", ".join(f"{dial.setting}={_value(dial.values[at])}" for dial, at in zip(dials, after, strict=True))
    turned = zip(dials, before, after, strict=True)
    return ", ".join(f"{dial.setting} {_value(dial.values[was])} -> {_value(dial.values[now])}" for dial, was, now in turned if was != now)


def _value(value: Value) -> str:
    return "default" if value is None else str(value)


def asked(dials: Sequence[Dial], wanted: Ask) -> str:
    """What a trial tries: the dials it turns, or what is measured again and beside what."""
    if wanted.rival is None:
        return in_words(dials, wanted.base, wanted.point) or "the best so far again"
    differ = [dial for dial, at, other in zip(dials, wanted.point, wanted.rival, strict=True) if at != other]
    point, rival = (
        " ".join(f"{dial.setting}={_value(dial.values[at])}" for dial, at in zip(dials, where, strict=True) if dial in differ)
        for where in (wanted.point, wanted.rival)
    )
    return f"again {point} beside {rival}"


def gain(objective: Objective, found: Standing) -> str:
    """What a step brought, with its 95 % interval: ``+11 % throughput (+8 to +14)``."""
    low, middle, high = (100 * part for part in found[:3])
    name = _NAMES.get(objective, "throughput")
    interval = "" if low == high else f" ({low:+.0f} to {high:+.0f})"
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


def judged(study: Study, objective: Objective, told: Sequence[Told], wanted: Ask) -> tuple[bool, str, str]:
    """Whether a trial's settings stay, what the step brought, and whether it stays in words.

    ``told`` is all up to it; both points have to have been measured.
    """
    base = wanted.base if wanted.base is not None else wanted.point
    other = wanted.rival if wanted.rival is not None and wanted.point == base else wanted.point
    found = standing(study, told, base, other)
    after = ask(study, told)
    best = after.best if isinstance(after, Ended) else after.base
    brought = gain(objective, found) + (f" over {found.starts} starts" if found.starts > _TWO else "")
    brought = brought if other == wanted.point else f"the other {brought}"
    is_kept = best == wanted.point
    if isinstance(after, Ask) and after.rival is not None and {after.point, after.rival} == {base, other}:
        return is_kept, brought, "too near to tell: measured again"
    fate = "kept" if is_kept else "rolled back"
    if study.ranked and (best == other or keeps_up(study, found)):
        return is_kept, brought, fate
    if best == other:
        return is_kept, brought, "kept though too near to tell" if is_kept and verdict(study, found) is Verdict.OPEN else fate
    why = f"slower by more than {1 - study.keeps:.0%}" if study.ranked else str(verdict(study, found))
    return is_kept, brought, f"{why}, {fate}"


def shows(study: Study, told: Sequence[Told], best: Point | None) -> Shown:
    """What the trials show of the best: that it is, that others are too near to tell, or nothing, as it was compared with none."""
    others = {one.point for one in told if one.speed is not None} - {best}
    if best is None or (study.ranked and best == study.ranked[0]):
        return Shown.BEST
    if not others:
        return Shown.ALONE
    if study.ranked or any(verdict(study, standing(study, told, best, other)) is not Verdict.OPEN for other in others):
        return Shown.BEST
    return Shown.NEAR


def holds(study: Study, told: Sequence[Told], trial_s: float) -> str:
    """How many more trials the budget holds, by the longest so far; by what one measures, before any was run."""
    taken = [one.seconds for one in told if one.seconds]
    left = max(0.0, study.budget_s - sum(taken))
    time = f"{left / 60:.0f} min" if left >= 120 else f"{left:.0f} s"  # noqa: PLR2004 - two minutes
    if not taken:
        most = counted(int(left // trial_s) if trial_s else 0, "trial")
        return f"{time} of the budget left, which hold at most {most} of {trial_s:.0f} s beside what starts take, of three rounds at least"
    return f"{time} of the budget left, enough for {counted(int(left // max(taken)), 'trial')} as long as the longest, {max(taken):.0f} s"


def stopped(rounds: int, *, is_kept: bool) -> str:
    """Why it ended where a person ended it, and what becomes of the trial that was on."""
    if is_kept:
        return f"stopped; the {rounds} rounds of the trial that was on are kept, and the same command goes on after it"
    if not rounds:
        return "stopped; the same command goes on where it was"
    some = counted(rounds, "round")
    return f"stopped; {some} of the trial that was on are too few to judge by, so the same command goes on with measuring it again"
