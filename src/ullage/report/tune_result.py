"""A tuning as it ended, and its trials as points of speed against memory."""

from typing import NamedTuple

from ullage.domain.baseline import Trial, TrialState
from ullage.domain.load import Load
from ullage.domain.plan import Plan
from ullage.domain.tuning import Dial, Objective
from ullage.planning.tune_journal import figure


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


class Mark(NamedTuple):
    """One trial that was measured: what it holds at its peak, and its tokens a second."""

    trial: Trial
    nbytes: int
    tokens_per_s: float
    is_front: bool  # nothing is faster with as little memory
    is_best: bool


def marks(tuned: Tuned) -> tuple[Mark, ...]:
    """The measured trials, the smallest first. Memory is what was seen, in all of them or in none; else what was promised."""
    done = [trial for trial in tuned.trials if trial.state is TrialState.DONE and figure(trial, "throughput") is not None]
    is_seen = all(figure(trial, "seen_bytes") is not None for trial in done)
    points = [(trial, _nbytes(trial, is_seen=is_seen), figure(trial, "throughput") or 0.0) for trial in done]
    points.sort(key=lambda point: (point[1], -point[2]))
    found, fastest = list[Mark](), 0.0
    for trial, nbytes, speed in points:
        is_best = tuned.best is not None and trial.number == tuned.best.number
        found.append(Mark(trial, nbytes, speed, speed > fastest, is_best))
        fastest = max(fastest, speed)
    return tuple(found)


def _nbytes(trial: Trial, *, is_seen: bool) -> int:
    promised = trial.peak.expected if trial.peak is not None else 0
    return int(figure(trial, "seen_bytes") or promised) if is_seen else promised


def dials_text(tuned: Tuned, trial: Trial) -> str:
    """The dials of a trial: ``chunk=512 max_seqs=8``."""
    values = ((dial.setting, trial.settings.get(dial.setting)) for dial in tuned.dials)
    return " ".join(f"{name}={'default' if value is None else value}" for name, value in values)
