"""A tuning as it ended, and its trials as points of speed against memory."""

from typing import NamedTuple

from ullage.domain.baseline import Trial, TrialState
from ullage.domain.load import Load
from ullage.domain.plan import Plan
from ullage.domain.tuning import Dial, Objective, Shown
from ullage.planning.tune_journal import figure, pooled


class Tuned(NamedTuple):
    """All of it. ``taken`` trials were in the journal before; ``best`` and ``plan`` are None where nothing ran."""

    name: str
    objective: Objective
    dials: tuple[Dial, ...]
    trials: tuple[Trial, ...]
    best: Trial | None
    plan: Plan | None
    reason: str
    taken: int
    load: Load
    notes: tuple[str, ...]
    shown: Shown = Shown.BEST


class Mark(NamedTuple):
    """Settings that were measured: what they hold at their peak, and their tokens a second over all ``numbers`` of trials."""

    trial: Trial
    numbers: tuple[int, ...]
    nbytes: int
    tokens_per_s: float
    is_front: bool  # nothing is faster with as little memory
    is_best: bool


def marks(tuned: Tuned) -> tuple[Mark, ...]:
    """The measured settings, the smallest first. Memory is what was seen, in all of them or in none; else what was promised."""
    runs = [trial for trial in tuned.trials if trial.state is TrialState.DONE and figure(trial, "throughput") is not None]
    alike: dict[str, list[Trial]] = {}
    for run in runs:
        alike.setdefault(dials_text(tuned, run), []).append(run)
    numbers = {same[0].number: tuple(one.number for one in same) for same in alike.values()}
    done = [pooled(same) for same in alike.values()]
    is_seen = all(figure(trial, "seen_bytes") is not None for trial in done)
    points = [(trial, _nbytes(trial, is_seen=is_seen), figure(trial, "throughput") or 0.0) for trial in done]
    points.sort(key=lambda point: (point[1], -point[2]))
    found, fastest = list[Mark](), 0.0
    for trial, nbytes, speed in points:
        own = numbers[trial.number]
        is_best = tuned.best is not None and tuned.best.number in own
        found.append(Mark(trial, own, nbytes, speed, speed > fastest, is_best))
        fastest = max(fastest, speed)
    return tuple(found)


def _nbytes(trial: Trial, *, is_seen: bool) -> int:
    promised = trial.peak.expected if trial.peak is not None else 0
    return int(figure(trial, "seen_bytes") or promised) if is_seen else promised


def dials_text(tuned: Tuned, trial: Trial) -> str:
    """The dials of a trial: ``chunk=512 max_seqs=8``."""
    values = ((dial.setting, trial.settings.get(dial.setting)) for dial in tuned.dials)
    return " ".join(f"{name}={'default' if value is None else value}" for name, value in values)
