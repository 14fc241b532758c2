"""The figures of a log by what they are of, and of which device."""

import re
from collections.abc import Iterable
from typing import Final

from ullage.domain.cause import Log, Sighting
from ullage.domain.facts import Fact
from ullage.domain.ledger import Purpose
from ullage.frozen import dataclass
from ullage.planning.ranks import writer_of

# Names of figures and what they measure; the last that the log says counts.
_PURPOSES: Final = {
    "weights_bytes": Purpose.WEIGHTS,
    "activation_bytes": Purpose.ACTIVATIONS,
    "non_torch_bytes": Purpose.RUNTIME,
    "graph_bytes": Purpose.GRAPHS,
    "estimated_graph_bytes": Purpose.GRAPHS,
    "kv_bytes": Purpose.KV_CACHE,
    "context_bytes": Purpose.KV_CACHE,  # with a recurrent model's state
    "available_kv_bytes": Purpose.KV_CACHE,
    "available_bytes": Purpose.KV_CACHE,
    "state_bytes": Purpose.STATE,
    "others_bytes": Purpose.OTHERS,
    "output_bytes": Purpose.LOGITS,
}
_CARD: Final = re.compile(r"(?:cuda|rocm|hip|xpu|sycl|vulkan|gpu)?[:_ ]?(\d{1,3})", re.IGNORECASE)
_NUMBERS: Final = re.compile(r"\d+")
_RELEASE: Final = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,5}")
_ANY: Final = 320 << 30  # more than any device has


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One figure and the line that says it. ``is_of_other``: a rank says it that is not the one that failed."""

    purpose: Purpose
    nbytes: int
    line: int
    is_of_other: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the log measured on the device that failed, or on the first one. ``unused_share_bytes``: of the share, after the weights."""

    device: str
    total_bytes: int | None
    budget_bytes: int | None
    fraction: float | None
    measured: tuple[Measured, ...]
    requested_bytes: int | None = None
    free_bytes: int | None = None
    allocated_bytes: int | None = None
    predicted_weight_bytes: int | None = None
    unused_share_bytes: int | None = None


def detail(fact: Fact, name: str) -> int | None:
    """A whole number that a fact states under that name, its value among them."""
    for known, value in fact.details:
        if known == name and isinstance(value, int | float) and not isinstance(value, bool):
            return int(value)
    if fact.name == name and isinstance(fact.value, int | float) and not isinstance(fact.value, bool):
        return int(fact.value)
    return None


def card_of(device: str) -> str:
    """A device as we call it: a bare number, or a backend's word with a number, is a card."""
    number = _CARD.fullmatch(device)
    return f"gpu{number[1]}" if number is not None else device


def release_of(log: Log) -> tuple[int, ...]:
    """The numbers of the release that a log tells; none where it does not."""
    numbers = _RELEASE.match(log.version or "")
    return tuple(map(int, numbers[0].split("."))) if numbers is not None else ()


def is_over_device(log: Log) -> bool:
    """Whether one allocation that failed asked for more than the device has."""
    errors = [seen.fact for seen in log.sightings if seen.fact.is_error]
    return any((detail(fact, "requested_bytes") or 0) >= (detail(fact, "total_bytes") or _ANY) for fact in errors)


def text_of(fact: Fact, name: str) -> str:
    """What a fact states under that name, as a word; empty where it does not."""
    return next((str(value) for known, value in fact.details if known == name), "")


def _measures(fact: Fact) -> bool:
    """Whether a fact tells what something takes, itself or among its details."""
    return fact.name in _PURPOSES or any(name in _PURPOSES for name, _ in fact.details)


def _device_of(seen: Iterable[Sighting]) -> str:
    """The device an error names; else the first that a size is said of."""
    facts = [one.fact for one in seen]
    failed = next((text_of(fact, "device") for fact in facts if fact.is_error and text_of(fact, "device")), "")
    named = [text_of(fact, "device") for fact in facts if _measures(fact) and text_of(fact, "device")]
    if failed.isdigit():
        return next((name for name in named if name.endswith(failed)), failed)
    cards = [name for name in named if not name.upper().startswith(("CPU", "HOST")) and "_HOST" not in name.upper()]
    return failed or next(iter(cards), "")


def _failed_rank(seen: Iterable[Sighting], device: str) -> str:
    """Who said the first error that tells of memory; where that one measured nothing, the rank of the device's number."""
    every = tuple(seen)
    error = next((one for one in every if one.fact.is_error and (text_of(one.fact, "device") or detail(one.fact, "requested_bytes"))), None)
    ranks = {one.rank: None for one in every if one.fact.name in _PURPOSES}
    if error is None or error.rank in ranks:
        return error.rank if error is not None else ""
    card = _CARD.fullmatch(device)
    return (writer_of(int(card[1]), ranks) if card is not None else None) or error.rank


def _nearness(rank: str, failed: str) -> int:
    """How much a rank's figures tell of the one that failed: its own most, then those of the engine, then those of its like."""
    if rank == failed:
        return 2
    return 0 if rank and _NUMBERS.sub("", rank) == _NUMBERS.sub("", failed) else 1


def figures_of(log: Log, *, predicted_weight_bytes: int | None = None, fraction: float | None = None) -> Figures:
    """The figures, those of other devices left out."""
    device = _device_of(log.sightings)
    failed = _failed_rank(log.sightings, device)
    measured: dict[Purpose, Measured] = {}
    found: dict[str, int] = {}
    for seen in sorted(log.sightings, key=lambda seen: _nearness(seen.rank, failed)):  # the last counts
        where = text_of(seen.fact, "device")
        if where and device and where != device and not where.isdigit() and _measures(seen.fact):
            continue
        for name, value in _numbers(seen.fact):
            purpose = _PURPOSES.get(name)
            if purpose is not None and _is_of(seen.fact, name):
                is_of_other = _nearness(seen.rank, failed) == 0
                measured[purpose] = Measured(purpose=purpose, nbytes=value, line=seen.line, is_of_other=is_of_other)
            found[name] = value
    share = next((_float(seen.fact, "utilization") for seen in log.sightings if _float(seen.fact, "utilization") is not None), fraction)
    total = found.get("total_bytes")
    budget = found.get("budget_bytes") or (int(total * share) if total and share else None)
    weights = measured.get(Purpose.WEIGHTS)
    return Figures(
        device=device,
        total_bytes=total,
        budget_bytes=budget,
        fraction=share,
        measured=tuple(measured.values()),
        requested_bytes=found.get("requested_bytes"),
        free_bytes=found.get("free_bytes"),
        allocated_bytes=found.get("allocated_bytes"),
        predicted_weight_bytes=predicted_weight_bytes,
        unused_share_bytes=budget - weights.nbytes if budget is not None and weights is not None else None,
    )


def _is_of(fact: Fact, name: str) -> bool:
    """Whether a figure is what its name says: beside an error, graphs' pools are not all, and what is available is the cache of some."""
    if name == "available_bytes":
        return fact.name == "error.kv_too_small"
    return not (name == "graph_bytes" and fact.is_error)


def _numbers(fact: Fact) -> list[tuple[str, int]]:
    own = [(fact.name, int(fact.value))] if isinstance(fact.value, int | float) and not isinstance(fact.value, bool) else []
    return [*own, *((name, int(value)) for name, value in fact.details if isinstance(value, int | float) and name.endswith("_bytes"))]


def _float(fact: Fact, name: str) -> float | None:
    if fact.name == name and isinstance(fact.value, float):
        return fact.value
    return next((float(value) for known, value in fact.details if known == name and isinstance(value, int | float)), None)
