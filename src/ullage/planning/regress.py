"""Runs before and after a change held against each other, term by term: which one grew beyond what runs differ by anyhow."""

from collections.abc import Iterable, Sequence
from math import sqrt

from ullage.domain.baseline import Exit, Run, Seen
from ullage.domain.ledger import Phase, Purpose
from ullage.errors import InputError
from ullage.frozen import dataclass
from ullage.planning.calibrate import FEWEST_RUNS, deviation, median, student
from ullage.planning.drift import RESOLUTION_BYTES, Standing, judge_drift

LAST = "last"
TOLERANCE = 0.02  # of a term: what allocators and drivers round differently from start to start


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One term before and after; ``base_bytes`` is what was to be expected after, ``allowed_bytes`` what it may be more.

    ``per_token``: the bytes are those by which memory grew with a token.
    """

    device: str
    purpose: Purpose | None
    phase: Phase
    before_bytes: int
    after_bytes: int
    base_bytes: int
    allowed_bytes: int
    per_token: bool = False

    @property
    def grew_bytes(self) -> int:
        """More than was to be expected."""
        return self.after_bytes - self.base_bytes

    @property
    def is_regression(self) -> bool:
        """Whether that is beyond the bounds."""
        return self.grew_bytes > self.allowed_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """Two sets of runs side by side. ``differences`` names what besides the release was not the same; ``failures`` what is new of them."""

    before: tuple[Run, ...]
    after: tuple[Run, ...]
    differences: tuple[str, ...]
    changes: tuple[Change, ...]
    failures: tuple[str, ...]

    @property
    def grown(self) -> tuple[Change, ...]:
        """The terms that grew beyond the bounds: single purposes before whole devices, the largest growth first."""
        found = (change for change in self.changes if change.is_regression)
        return tuple(sorted(found, key=lambda change: (change.purpose is None, change.per_token, -change.grew_bytes)))

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be said, as no term was seen on both sides."""
        return not self.changes and not self.failures

    @property
    def is_regression(self) -> bool:
        """Whether anything grew beyond the bounds, or ran out of memory that did not before."""
        return bool(self.grown or self.failures)


def question_of(run: Run) -> tuple[object, ...]:
    """What was asked of the engine, whatever its release and driver: runs alike in it can be compared byte for byte."""
    return (run.engine, run.model, run.machine.devices, run.parallel, run.workload, run.settings)


def _load_of(run: Run) -> tuple[object, ...]:
    """The same but for the settings, of which a release may bring other defaults."""
    return question_of(run)[:-1]


def contrast(before: Sequence[Run], after: Sequence[Run], *, tolerance: float = TOLERANCE) -> Contrast:
    """Two sets of runs, each of one question. Where the questions differ, what the rules say of the difference is allowed for."""
    differences = _differences(before[0], after[0])
    terms = dict.fromkeys((one.device, one.purpose, one.phase) for run in before for one in run.seen)
    changes = [change for term in terms if (change := _change(term, before, after, tolerance, is_same=not differences)) is not None]
    return Contrast(
        before=tuple(before),
        after=tuple(after),
        differences=differences,
        changes=(*changes, *_growths(before, after, tolerance)),
        failures=_failures(before, after),
    )


def _differences(one: Run, other: Run) -> tuple[str, ...]:
    """What was not the same: engine, model, machine, degrees, load, and each setting by name."""
    found = [f"engine: {one.engine} then {other.engine}"] if one.engine != other.engine else []
    found += [f"model: {one.model.name} then {other.model.name}"] if one.model != other.model else []
    found += ["the devices differ"] if one.machine.devices != other.machine.devices else []
    found += [f"{name} differs" for name in ("parallel", "workload") if getattr(one, name) != getattr(other, name)]
    names = sorted({name for run in (one, other) for name, _ in run.settings.items})
    pairs = ((name, one.settings.get(name), other.settings.get(name)) for name in names)
    return (*found, *(f"{name}: {was} then {now}" for name, was, now in pairs if was != now))


def _change(
    term: tuple[str, Purpose | None, Phase], before: Sequence[Run], after: Sequence[Run], tolerance: float, *, is_same: bool
) -> Change | None:
    """One term; None where one side saw none of it, only the later one the load that was planned, or another question's was not filled."""
    earlier, later = (list(_readings(runs, term)) for runs in (before, after))
    if not earlier or not later or (any(one.reached for _, one in later) and not any(one.reached for _, one in earlier)):
        return None
    were, are = ([run.own_bytes(one) + one.missing_bytes for run, one in side] for side in (earlier, later))
    was, now = (round(median(side)) for side in (were, are))
    if not is_same and not all(_is_filled(run, one) for run, one in (*earlier, *later)):
        return None
    base = was if is_same else max(0, was + _promised(after, term) - _promised(before, term))
    return Change(
        device=term[0],
        purpose=term[1],
        phase=term[2],
        before_bytes=was,
        after_bytes=now,
        base_bytes=base,
        allowed_bytes=max(RESOLUTION_BYTES, round(tolerance * base), _scatter(were)),
    )


def _readings(runs: Iterable[Run], term: tuple[str, Purpose | None, Phase]) -> Iterable[tuple[Run, Seen]]:
    return ((run, one) for run in runs for one in run.seen if (one.device, one.purpose, one.phase) == term)


def _is_filled(run: Run, seen: Seen) -> bool:
    """Whether as much was held as was promised: what the rules say of another question does not tell of a cache that stayed empty."""
    promised = run.promise(seen.device, seen.purpose, seen.phase)
    return promised is None or seen.reached or judge_drift(promised, seen.full_bytes).standing is not Standing.BELOW


def _promised(runs: Sequence[Run], term: tuple[str, Purpose | None, Phase]) -> int:
    """The median of what was promised, without other processes."""
    others = [run.others_bytes(term[0]) if term[1] is None else 0 for run in runs]
    found = zip((run.promise(*term) for run in runs), others, strict=True)
    amounts = [amount.expected - beside for amount, beside in found if amount is not None]
    return round(median(amounts)) if amounts else 0


def _scatter(values: Sequence[int]) -> int:
    """How far above the middle the next run may lie by chance; nothing where there is only one."""
    if len(values) < FEWEST_RUNS:
        return max(values) - min(values)
    return round(student(len(values) - 1) * deviation(values) * sqrt(1 + 1 / len(values)))


def _growths(before: Sequence[Run], after: Sequence[Run], tolerance: float) -> Iterable[Change]:
    """How memory grew with a token, on every device on which both sides tell."""
    for device in dict.fromkeys(one.device for run in before for one in run.growth):
        earlier, later = ([one.bytes_per_token for run in runs for one in run.growth if one.device == device] for runs in (before, after))
        if not later:
            continue
        was, now = round(median(earlier)), round(median(later))
        allowed = max(1, round(tolerance * abs(was)), round(max(earlier) - min(earlier)))
        yield Change(
            device=device,
            purpose=None,
            phase=Phase.DECODE,
            before_bytes=was,
            after_bytes=now,
            base_bytes=was,
            allowed_bytes=allowed,
            per_token=True,
        )


def _failures(before: Sequence[Run], after: Sequence[Run]) -> tuple[str, ...]:
    if any(run.out_of_memory for run in before):
        return ()
    return tuple(f"{run.id} ran out of memory on {event.device}" for run in after for event in run.out_of_memory[:1])


def sides(runs: Sequence[Run], words: Sequence[str]) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
    """The runs before and after that words mean: ids, beginnings of ids, or ENGINE@VERSION; none: the newest against the release before.

    Runs come newest first. Raises InputError.
    """
    if len(words) > 2:  # noqa: PLR2004 - two sides
        raise InputError(f"{len(words)} runs are named: compare takes two, the earlier first")
    if not runs:
        raise InputError("no run is stored yet: `ullage serve` and `ullage tune` store theirs, `ullage baselines import FILE` adds others")
    after = meant(runs, words[1]) if len(words) == 2 else (_newest(runs),)  # noqa: PLR2004 - as above
    before = meant(runs, words[0]) if words else _earlier(runs, _newest(runs))
    if {run.id for run in before} == {run.id for run in after}:
        raise InputError(
            f"{words[0][:60]} and {words[-1][:60]} mean the same runs: name two that differ (`ullage baselines list` shows them)"
        )
    before, after = (tuple(run for run in side if run.tells_memory) or side for side in (before, after))
    for key in (question_of, _load_of):
        shared = [key(run) for run in after if key(run) in {key(one) for one in before}]
        if shared:
            return tuple(run for run in before if key(run) == shared[0]), tuple(run for run in after if key(run) == shared[0])
    if len(before) == len(after) == 1:
        return before, after
    raise InputError("nothing was asked of both: the model, the devices, the degrees or the load differ; name two runs by their ids")


def _newest(runs: Sequence[Run]) -> Run:
    """The newest that ended: one that goes on may not have seen its load yet."""
    return next((run for run in runs if run.exit is not Exit.RUNNING), runs[0])


def _earlier(runs: Sequence[Run], newest: Run) -> tuple[Run, ...]:
    """The last runs of another release under the same load, with the same settings where there are any."""
    for key in (question_of, _load_of):
        alike = [run for run in runs if key(run) == key(newest) and run.version != newest.version]
        if alike:
            return tuple(run for run in alike if run.version == alike[0].version)
    raise InputError(f"no run of another release had the load of {newest.id}: name two runs (`ullage baselines list` shows them)")


def meant(runs: Sequence[Run], word: str) -> tuple[Run, ...]:
    """The runs of a word: one by its id or its beginning, the newest by ``last``, all of a release by ENGINE@VERSION. Raises InputError."""
    if word == LAST:
        if not runs:
            raise InputError("no run is stored yet: `ullage serve` stores each run it keeps")
        return (_newest(runs),)
    engine, is_release, version = word.partition("@")
    found = [run for run in runs if (run.engine, run.version) == (engine, version)] if is_release else _one(runs, word)
    if not found:
        raise InputError(
            f"{word[:60]!r} is no stored run: `ullage baselines list` shows their ids, and ENGINE@VERSION means all of a release"
        )
    return tuple(found)


def _one(runs: Sequence[Run], word: str) -> list[Run]:
    found = [run for run in runs if run.id == word] or [run for run in runs if word and run.id.startswith(word)]
    if len(found) > 1:
        raise InputError(f"{word[:60]!r} is the beginning of {len(found)} runs: {', '.join(run.id for run in found[:5])}; write more of it")
    return found
