"""What stored runs teach about a plan's amounts: how seen stood to promised, term by term, and how surely.

Only amounts with an error are corrected; weights, cache and state are counted to the byte and never are. A term needs three runs: with two,
Student's factor for the next run is 12.7, with three it is 4.3, the first that can narrow anything.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from math import sqrt

from ullage.catalog.secrets import holds_secret, is_secret_name
from ullage.domain.baseline import Exit, Promised, Run, Seen
from ullage.domain.case import Case, Settings, Value
from ullage.domain.ledger import Amount, Phase, Purpose
from ullage.domain.machine import HOST
from ullage.frozen import dataclass, replace

FEWEST_RUNS = 3
MOST_RUNS = 50  # the newest; older ones say what the machine was
COUNTED = frozenset({Purpose.WEIGHTS, Purpose.KV_CACHE, Purpose.STATE, Purpose.OTHERS})
_SCALES = frozenset({Purpose.ACTIVATIONS, Purpose.LOGITS, Purpose.WORKSPACE, Purpose.GRAPHS, Purpose.STAGING})
_UNDER_LOAD = frozenset({Phase.PREFILL, Phase.DECODE})
_NOT_WELL = frozenset({Exit.OUT_OF_MEMORY, Exit.CRASHED, Exit.RUNNING})  # the last has not come to its peak, or nobody saw its end
_ALIKE = 1 + 1e-9
_CLEARLY = 1.5  # one way to see the runs is steadier than the other by this much, or nothing tells which is right
_BEYOND = 0.1

# Student's t at 97.5 % by degrees of freedom; between two the smaller one's, which is the wider.
_STUDENT = (
    (1, 12.706),
    (2, 4.303),
    (3, 3.182),
    (4, 2.776),
    (5, 2.571),
    (6, 2.447),
    (7, 2.365),
    (8, 2.306),
    (9, 2.262),
    (10, 2.228),
    (12, 2.179),
    (15, 2.131),
    (20, 2.086),
    (30, 2.042),
    (60, 2.000),
)

Kind = tuple[str, str]  # a device's kind and name; the host's is ("host", "")
Key = tuple[Purpose | None, Phase]
Term = tuple[Kind, Purpose | None, Phase]  # None: every uncertain amount of the phase that was not seen by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """How a term's bytes stood to the promise over ``runs`` runs: as a factor, or as bytes more when ``is_ratio`` is False.

    ``least`` and ``most`` are the extremes that were seen, ``low`` to ``high`` where the next run is expected with 95 %. ``promised`` is
    the smallest and the largest promise it was learnt from; ``beside`` is the other way to see the same runs, where that was about as
    steady: then nothing tells which of the two goes on.
    """

    runs: int
    is_ratio: bool
    least: float
    low: float
    middle: float
    high: float
    most: float
    promised: tuple[int, int] = (0, 0)
    beside: "Correction | None" = None
    is_alike: bool = False  # the way beside was about as steady

    def ways(self, promised_bytes: int) -> tuple["Correction", ...]:
        """The ways that count for a promise: beyond what runs were promised by more than a tenth, both do."""
        smallest, largest = self.promised
        inside = smallest * (1 - _BEYOND) <= promised_bytes <= largest * (1 + _BEYOND)
        return (self,) if self.beside is None or (inside and not self.is_alike) else (self, self.beside)

    def of(self, value: float, promised_bytes: int) -> float:
        """Bytes that a factor or a difference makes of a promise; never below nought."""
        return max(0.0, promised_bytes * value if self.is_ratio else promised_bytes + value)


def corrections(case: Case, runs: Iterable[Run]) -> dict[Term, Correction]:
    """Every term of a resolved case about which enough runs like it, newest first, say something."""
    samples: dict[Term, list[tuple[int, int]]] = {}
    for run in comparable(case, runs):
        for term, pair in _worst(_pairs(run)).items():
            samples.setdefault(term, []).append(pair)
    return {term: _correction(term, pairs) for term, pairs in samples.items() if len(pairs) >= FEWEST_RUNS}


def comparable(case: Case, runs: Iterable[Run]) -> list[Run]:
    """Runs that ended well with the same engine release, family, scheme and degrees on such devices, under the newest one's driver.

    Words and switches among the settings are the same too: they choose other kernels, where a number only says how much.
    """
    found = [run for run in runs if run.exit not in _NOT_WELL and not run.out_of_memory and _is_like(run, case)]
    return [run for run in found if run.machine.driver == found[0].machine.driver][:MOST_RUNS]


def _is_like(run: Run, case: Case) -> bool:
    shape = case.model.architecture
    return (
        (run.engine, run.parallel) == (case.engine, case.parallel)
        and (run.model.model_type, run.model.scheme) == (shape.model_type, case.model.checkpoint.scheme)
        and _release(run.version) == _release(str(case.version))
        and {(one.kind, one.name) for one in run.machine.devices} == {(one.kind, one.name) for one in case.devices}
        and choices(run.settings) == choices(case.settings)
    )


@lru_cache(maxsize=1024)
def choices(settings: Settings) -> frozenset[tuple[str, Value]]:
    """Words and switches, without those that are never stored."""
    return frozenset(
        (name, value)
        for name, value in settings.items
        if isinstance(value, bool | str) and not is_secret_name(name) and not holds_secret(str(value))
    )


def _release(version: str) -> tuple[str, ...]:
    """0.19.1 is of the release 0.19; a build number stands for itself."""
    return tuple(version.split(".")[:2])


def kind_of(device: str, kinds: Iterable[tuple[str, str, str]]) -> Kind:
    """The kind and name of a device by its id; what is no accelerator is the host."""
    return next(((kind, name) for own, kind, name in kinds if own == device and own != HOST), ("host", ""))


def _pairs(run: Run) -> Iterator[tuple[Term, tuple[int, int]]]:
    """Promised and seen bytes of every term of a run that says something about it."""
    kinds = tuple((one.id, one.kind, one.name) for one in run.machine.devices)
    for device in dict.fromkeys(one.device for one in run.seen):
        kind, promises = kind_of(device, kinds), _sums(one for one in run.promised if one.device == device)
        own: dict[Key, tuple[int, int]] = {
            (one.purpose, one.phase): (promises[one.purpose, one.phase].expected, one.full_bytes)
            for one in run.seen
            if one.device == device and _speaks(one, promises) and one.purpose is not None
        }
        yield from (((kind, *key), pair) for key, pair in own.items())
        outside = _sums(one for one in run.promised if one.device == device and not one.joined)
        wholes = {one.phase: one for one in run.seen if one.device == device and one.purpose is None and _counts(one, promises)}
        yield from (((kind, None, phase), pair) for phase, pair in _rests(wholes, promises, outside, own).items())


def _sums(promised: Iterable[Promised]) -> dict[Key, Amount]:
    """Promises by purpose and phase."""
    found: dict[Key, Amount] = {}
    for one in promised:
        key = (one.purpose, one.phase)
        found[key] = found[key] + one.amount if key in found else one.amount
    return found


def _is_open(key: Key, amount: Amount) -> bool:
    """Whether the amount has an error that a run can narrow."""
    return key[0] is not None and key[0] not in COUNTED and amount.low < amount.high


def _speaks(seen: Seen, promises: dict[Key, Amount]) -> bool:
    key = (seen.purpose, seen.phase)
    return key in promises and _is_open(key, promises[key]) and _counts(seen, promises)


def _counts(seen: Seen, promises: dict[Key, Amount]) -> bool:
    """A peak under less than the load that was planned says nothing, unless it is above the promise all the same."""
    promised = promises.get((seen.purpose, seen.phase))
    return promised is not None and (seen.phase not in _UNDER_LOAD or seen.reached or seen.full_bytes > promised.expected)


def _rests(
    wholes: dict[Phase, Seen], promises: dict[Key, Amount], outside: dict[Key, Amount], own: dict[Key, tuple[int, int]]
) -> dict[Phase, tuple[int, int]]:
    """What a whole device's reading leaves for uncertain amounts outside a budget that were not seen by themselves.

    What is resident comes first; a phase is told apart from it only where that was read too.
    """
    found: dict[Phase, tuple[int, int]] = {}
    for phase in (phase for phase in (Phase.LOAD, Phase.RESIDENT, Phase.CAPTURE, Phase.PREFILL, Phase.DECODE) if phase in wholes):
        if phase not in {Phase.LOAD, Phase.RESIDENT} and Phase.RESIDENT not in wholes:
            continue
        alive = {phase} if phase is Phase.LOAD else {phase, Phase.RESIDENT}
        off = wholes[phase].full_bytes - promises[None, phase].expected
        off -= sum(seen - said for key, (said, seen) in own.items() if key[1] in alive and key in outside)
        off -= sum(seen - said for earlier, (said, seen) in found.items() if earlier is Phase.RESIDENT and earlier in alive)
        rest = [amount.expected for key, amount in outside.items() if key[1] is phase and key not in own and _is_open(key, amount)]
        if rest:
            found[phase] = (sum(rest), max(0, sum(rest) + off))
    return found


def _worst(pairs: Iterable[tuple[Term, tuple[int, int]]]) -> dict[Term, tuple[int, int]]:
    """One pair a term: the devices of a run are not independent, so the one that is furthest above its promise speaks for all."""
    found: dict[Term, tuple[int, int]] = {}
    for term, pair in pairs:
        if term not in found or pair[1] - pair[0] > found[term][1] - found[term][0]:
            found[term] = pair
    return found


def _correction(term: Term, pairs: Sequence[tuple[int, int]]) -> Correction:
    """A factor or a difference, whichever was steadier; where both are alike, a factor for what grows with the work."""
    _, purpose, phase = term
    differences = [float(seen - said) for said, seen in pairs]
    steady, span = deviation(differences), (min(said for said, _ in pairs), max(said for said, _ in pairs))
    more = _interval(differences, is_ratio=False)
    if not span[0]:
        return replace(more, promised=span)
    ratios = [seen / said for said, seen in pairs]
    factor = _interval(ratios, is_ratio=True)
    spread = deviation(ratios) * sum(said for said, _ in pairs) / len(pairs)
    grows = purpose in _SCALES or (purpose is None and phase in _UNDER_LOAD)
    is_factor = spread * _ALIKE < steady or (grows and spread <= steady * _ALIKE)
    is_alike = max(spread, steady) <= min(spread, steady) * _CLEARLY
    first, second = (factor, more) if is_factor else (more, factor)
    return replace(first, promised=span, beside=second, is_alike=is_alike)


def _interval(values: Sequence[float], *, is_ratio: bool) -> Correction:
    """Where the next value lies with 95 %, about the mean; the middle is the median, which one odd run does not move."""
    count = len(values)
    half = student(count - 1) * deviation(values) * sqrt(1 + 1 / count)
    mean = sum(values) / count
    return Correction(
        runs=count, is_ratio=is_ratio, least=min(values), low=mean - half, middle=median(values), high=mean + half, most=max(values)
    )


def median(values: Sequence[float]) -> float:
    """The middle value; between the two middle ones of an even number."""
    ranked = sorted(values)
    return (ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2]) / 2


def deviation(values: Sequence[float]) -> float:
    """The sample's standard deviation, of two values or more."""
    mean = sum(values) / len(values)
    return sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def student(freedom: int) -> float:
    """Student's t at 97.5 %, never too small."""
    return max((row for row in _STUDENT if row[0] <= freedom), default=_STUDENT[0])[1]
