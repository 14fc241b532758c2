"""Predictions against measurements: what each judged report was compared on, and what follows over all of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tests.accuracy.cases_of_rows import Asked, Unjudged
from tests.accuracy.rows import Row

from ullage.domain.case import Case
from ullage.domain.ledger import Amount
from ullage.domain.plan import Verdict
from ullage.errors import UllageError
from ullage.planning.fit import Outcome, evaluate
from ullage.units import GiB

DECISIVE = frozenset({"gpu_memory_utilization", "max_model_len", "scheme", "version"})
LAST_DIGIT, COUNTS = 0.005, frozenset({"KV tokens", "KV blocks", "bytes a token"})
ADDS_UP = 0.01  # parts of a budget that miss it by more than this share contradict each other


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One quantity of one report: bytes, or tokens and blocks. ``silent`` names what the report left out and the figure depends on."""

    row: Row
    quantity: str
    measured: float
    predicted: Amount
    silent: frozenset[str]

    @property
    def settled(self) -> bool:
        """Whether the report says all that sets the figure; what is left out has one default for each release and device."""
        return not self.silent & DECISIVE

    @property
    def error(self) -> float:
        """Predicted less measured, by the measured."""
        return self.predicted.expected / self.measured - 1

    @property
    def covered(self) -> bool:
        """Whether the measured lies in the predicted range; the last digit of a report, hundredths of a GiB at least, is forgiven."""
        digit = 0.0 if self.quantity in COUNTS else LAST_DIGIT * GiB
        last = max(0.005 * self.measured, digit)
        return self.predicted.low - last <= self.measured <= self.predicted.high + last


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One report: what it was compared on, and the verdict of the plan."""

    asked: Asked
    outcome: Outcome
    comparisons: tuple[Comparison, ...]
    best: Verdict  # the best and the worst verdict over what the report is silent about
    worst: Verdict

    @property
    def row(self) -> Row:
        """The report."""
        return self.asked.row


Measures = Callable[[Row, Outcome], dict[str, tuple[float | None, Amount]]]
BY_QUANTITY = {  # what a report must say for a figure to follow from it
    "weights": frozenset({"scheme"}),
    "activations": frozenset({"max_num_seqs", "max_num_batched_tokens", "max_model_len", "version"}),
    "graphs": frozenset({"max_num_seqs"}),
}


def judge(asked: Asked, measures: Measures, needs: Mapping[str, frozenset[str]] = BY_QUANTITY) -> Judged | Unjudged:
    """Evaluate a report's question and its variants; a range is as wide as all of them together.

    ``needs`` says what a report must state for a quantity to follow from it; of a quantity not in it, everything.
    """
    try:
        outcomes = [evaluate(asked.engine, case) for case in (asked.case, *asked.variants)]
    except UllageError as error:
        return Unjudged(row=asked.row, why=f"refused: {str(error)[:80]}")
    first = outcomes[0]
    figures = [measures(asked.row, outcome) for outcome in outcomes]
    comparisons = []
    for quantity, (measured, predicted) in figures[0].items():
        if measured is None or measured <= 0:
            continue
        others = [figure[quantity][1] for figure in figures]
        spread = Amount(min(other.low for other in others), predicted.expected, max(other.high for other in others))
        needed = needs.get(quantity)
        silent = asked.silent if needed is None else asked.silent & needed
        comparisons.append(Comparison(row=asked.row, quantity=quantity, measured=measured, predicted=spread, silent=silent))
    verdicts = sorted((outcome.verdict for outcome in outcomes), key=lambda verdict: verdict.rank)
    return Judged(asked=asked, outcome=first, comparisons=tuple(comparisons), best=verdicts[0], worst=verdicts[-1])


def adds_up(row: Row, case: Case) -> bool:
    """Whether the parts of the budget that a report states make the budget it states. True where any is missing."""
    names = ("weights_gib", "activation_peak_gib", "non_torch_gib", "kv_cache_gib", "gpu_memory_utilization")
    weights, peak, other, cache, fraction = (row.number(name) for name in names)
    if weights is None or peak is None or other is None or cache is None or fraction is None:
        return True
    budget = fraction * case.machine.devices[0].total_bytes / GiB
    return abs(weights + peak + other + cache - budget) <= ADDS_UP * budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One quantity over many reports."""

    quantity: str
    count: int
    median: float
    p90: float
    coverage: float
    worst: tuple[Comparison, ...]


def summarise(quantity: str, comparisons: Iterable[Comparison]) -> Summary:
    """Median and 90th percentile of the absolute relative errors, and the share covered."""
    own = [item for item in comparisons if item.quantity == quantity]
    errors = sorted(abs(item.error) for item in own)
    ranked = sorted(own, key=lambda item: -abs(item.error))
    return Summary(
        quantity=quantity,
        count=len(own),
        median=median(errors) if errors else 0.0,
        p90=percentile(errors, 0.9),
        coverage=sum(item.covered for item in own) / len(own) if own else 1.0,
        worst=tuple(ranked[:10]),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of them do not pass."""
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdicts:
    """Failures and successes against the plan's verdicts."""

    failures: int
    missed: tuple[Judged, ...]  # failures that the plan calls fitting
    runs: int
    too_strict: tuple[Judged, ...]  # runs that the plan calls impossible: does not fit
    refused: tuple[Judged, ...]  # runs that the plan thinks the engine refuses
    missed_plainly: tuple[Judged, ...]  # failures that the question with every default calls fitting, whatever its variants
    strict_plainly: tuple[Judged, ...]  # runs that it calls impossible or refused
    aside: tuple[Judged, ...]  # failures and runs whose report does not tell what memory or placement it is about

    @property
    def recall(self) -> float:
        """Share of failures that the plan does not call fitting."""
        return 1 - len(self.missed) / self.failures if self.failures else 1.0

    @property
    def false_alarms(self) -> float:
        """Share of runs that the plan says cannot fit."""
        return len(self.too_strict) / self.runs if self.runs else 0.0


def verdicts(judged: Iterable[Judged]) -> Verdicts:
    """Failures must not be called fitting in any way the report leaves open; runs must not be called impossible in every such way."""
    everything = tuple(judged)
    found = tuple(item for item in everything if not item.asked.unsized)
    failed, ran = [item for item in found if item.row.failed], [item for item in found if item.row.ran]
    return Verdicts(
        failures=len(failed),
        missed=tuple(item for item in failed if item.worst is Verdict.FITS),
        runs=len(ran),
        too_strict=tuple(item for item in ran if item.best is Verdict.DOES_NOT_FIT),
        refused=tuple(item for item in ran if item.best is Verdict.REFUSED),
        missed_plainly=tuple(item for item in failed if item.outcome.verdict is Verdict.FITS),
        strict_plainly=tuple(item for item in ran if item.outcome.verdict in {Verdict.DOES_NOT_FIT, Verdict.REFUSED}),
        aside=tuple(item for item in everything if item.asked.unsized and (item.row.failed or item.row.ran)),
    )
