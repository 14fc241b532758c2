"""Which modules lie on which card: filled as the model loads, with a real forward pass, up to what each card may use."""

from functools import lru_cache
from itertools import accumulate

from ullage.catalog.exllama_options import AUTO, write_numbers
from ullage.domain.case import Case
from ullage.engines.exllamav3.settings import reserve_bytes, split_numbers
from ullage.engines.exllamav3.units import units
from ullage.engines.exllamav3.versions import CONTEXT
from ullage.formulas.blocks import BlockKind
from ullage.formulas.placement import Load, Span, balanced, fill, left_over
from ullage.frozen import dataclass, replace
from ullage.units import GiB

_CENT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """One run of modules for each card; ``missing`` modules found no room and are counted on the last card."""

    spans: tuple[Span, ...]
    missing: int = 0


def is_filled(case: Case) -> bool:
    """Whether cards are filled until an allocation fails: always, but where one card takes everything."""
    return case.settings.text("gpu_split") == AUTO or split_numbers(case) is not None


def placing(case: Case) -> Placing:
    """Where the modules come to lie."""
    return _placing(replace(case, stated=frozenset()))


@lru_cache(maxsize=256)
def _placing(case: Case) -> Placing:
    count = len(units(case))
    if not is_filled(case):
        return Placing(spans=((0, count), *((count, count) for _ in case.devices[1:])))
    spans = fill(count, caps(case), load_of(case))
    return Placing(spans=(*spans[:-1], (spans[-1][0], count)), missing=left_over(count, spans))


def caps(case: Case) -> tuple[int, ...]:
    """What may lie on each card: what ``gpu_split`` allows besides the context, or all but the reserve."""
    numbers = split_numbers(case)
    if numbers is None:
        return tuple(device.total_bytes - kept for device, kept in zip(case.devices, reserve_bytes(case), strict=False))
    allowed = (*numbers, *(0.0 for _ in case.devices))
    base = [CONTEXT.value + device.reserved_bytes for device in case.devices]
    return tuple(
        min(device.total_bytes, base[at] + int(allowed[at] * GiB)) if allowed[at] > 0 else -1 for at, device in enumerate(case.devices)
    )


def load_of(case: Case) -> Load:
    """Weights, cache, states, one forward pass, context and other processes."""
    modules = units(case)
    sums = [0, *accumulate(unit.weights + unit.cache_bytes + unit.state_bytes for unit in modules)]
    working = [unit.working for unit in modules]
    base = [CONTEXT.value + device.reserved_bytes for device in case.devices]

    def load(device: int, first: int, end: int) -> int:
        return base[device] + (sums[end] - sums[first] + max(working[first:end]) if end > first else 0)

    return load


@lru_cache(maxsize=64)
def balanced_spans(case: Case) -> tuple[Span, ...]:
    """Whole layers so that the fullest card has as much left as it can."""
    modules, load = units(case), load_of(case)
    ends = [0, *(at + 1 for at, unit in enumerate(modules) if unit.block.kind is BlockKind.FEED_FORWARD), len(modules)]
    sizes = [device.total_bytes for device in case.devices]
    found = balanced(len(ends) - 1, sizes, lambda device, first, end: load(device, ends[first], ends[end]))
    return tuple((ends[first], ends[end]) for first, end in found)


def balanced_split(case: Case) -> str:
    """The ``gpu_split`` that gives every card its balanced share: GB it may use, cache included, midway to the next module."""
    load, numbers = load_of(case), []
    for at, (first, end) in enumerate(balanced_spans(replace(case, stated=frozenset()))):
        base = load(at, 0, 0)
        more = min(end + 1, len(units(case)))
        wanted = (load(at, first, end) + load(at, first, more)) / 2 - base
        whole = case.devices[at].total_bytes - base
        numbers.append(round((whole if at == len(case.devices) - 1 else wanted) / GiB * _CENT) / _CENT)
    return write_numbers(numbers)


def layer_counts(case: Case, spans: tuple[Span, ...]) -> tuple[int, ...]:
    """Layers whose attention, and so whose cache, lies on each card."""
    kinds = [unit.block.kind is BlockKind.ATTENTION for unit in units(case)]
    return tuple(sum(kinds[first:end]) for first, end in spans)
