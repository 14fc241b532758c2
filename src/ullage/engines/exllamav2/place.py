"""Which modules lie on which card: the library's own rule for a split, its automatic filling, and the split that balances the cards."""

from functools import lru_cache
from itertools import accumulate
from math import ceil

from ullage.catalog.exllama_options import AUTO, NONE, write_numbers
from ullage.domain.case import Case
from ullage.engines.exllamav2.settings import cache_bits, reserve_mib, rules, split_numbers, with_defaults
from ullage.engines.exllamav2.units import Unit, constant_bytes, table_positions_bytes, units
from ullage.engines.exllamav2.versions import AUTOSPLIT_MINIMUM, CONTEXT, TILT_PERCENT
from ullage.formulas.blocks import BlockKind
from ullage.formulas.placement import Load, Span, balanced, fill, left_over
from ullage.frozen import dataclass, replace
from ullage.units import GiB, MiB

STEPS = (100, 1000, 10000)  # a split is written with as few decimals as give the layers wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """One run of modules for each card; ``missing`` modules found no room and are counted on the last card."""

    spans: tuple[Span, ...]
    missing: int = 0
    tilt: int = 0  # per cent fewer bits taken for the first layer


def has_flash(case: Case) -> bool:
    """Whether attention is taken to be flash-attn: as said, else by release: the dynamic generator needs it, before that nothing did."""
    ruled_out = case.settings.flag("no_flash_attn")
    return rules(case).dynamic if ruled_out is None else not ruled_out


def placing(case: Case) -> Placing:
    """Where the modules come to lie, by the library's own rule."""
    return variants(case)[0]


def variants(case: Case) -> tuple[Placing, ...]:
    """The expected placement first; then, for a manual split, those with and without flash-attn, and with bits that grow by layer.

    File headers tell each layer's own bits; an average does not.
    """
    numbers = split_numbers(case)
    if numbers is None:
        return (_placed_by_word(case),)
    return _by_split(_key(case), numbers, tuple(_assumptions(case)))


def _key(case: Case) -> Case:
    return replace(case, stated=frozenset(), settings=case.settings.without("gpu_split"))


def _assumptions(case: Case) -> list[tuple[bool, int]]:
    """Pairs of flash-attn there, and how many per cent fewer bits the first layer has."""
    flash = has_flash(case)
    found = [(flash, 0)]
    if not case.settings.has("no_flash_attn"):
        found.append((not flash, 0))
    if not case.model.checkpoint.exact and case.model.checkpoint.scheme.startswith("exl2"):
        found += [(there, TILT_PERCENT.value) for there, _ in tuple(found)]
    return found


def _placed_by_word(case: Case) -> Placing:
    cards, count = len(case.devices), len(units(case))
    if case.settings.text("gpu_split") == NONE or (cards == 1 and case.settings.text("gpu_split") != AUTO):
        return Placing(spans=((0, count), *((count, count) for _ in range(cards - 1))))
    return _automatic(_key(case))


@lru_cache(maxsize=256)
def _automatic(case: Case) -> Placing:
    """Filled up card by card, the cache and one forward pass included, until an allocation fails."""
    reserve = reserve_mib(case)
    caps = [device.total_bytes - int(reserve[at] * MiB) - AUTOSPLIT_MINIMUM.value for at, device in enumerate(case.devices)]
    modules = units(case)
    return _complete(len(modules), fill(len(modules), caps, full_load(case, modules, largest_scratch=True)))


def _complete(count: int, spans: tuple[Span, ...], tilt: int = 0) -> Placing:
    return Placing(spans=(*spans[:-1], (spans[-1][0], count)), missing=left_over(count, spans), tilt=tilt)


@lru_cache(maxsize=256)
def _by_split(case: Case, numbers: tuple[float, ...], assumptions: tuple[tuple[bool, int], ...]) -> tuple[Placing, ...]:
    modules = units(case)
    caps = [int(number * GiB) - constant_bytes(case) for number in numbers[: len(case.devices)]]
    return tuple(_complete(len(modules), fill(len(modules), caps, split_load(modules, flash=f, tilt=t)), t) for f, t in assumptions)


def split_load(modules: tuple[Unit, ...], *, flash: bool, tilt: int = 0) -> Load:
    """What the library counts against a split: stored weights, the largest scratch, the largest attention weights. No cache."""
    sums = [0, *accumulate(tilted(modules, tilt))]
    reserve = [unit.reserve for unit in modules]
    attention = [unit.attention_flash if flash else unit.attention_plain for unit in modules]

    def load(_device: int, first: int, end: int) -> int:
        return sums[end] - sums[first] + max(reserve[first:end], default=0) + max(attention[first:end], default=0)

    return load


def tilted(modules: tuple[Unit, ...], tilt: int) -> list[int]:
    """Stored bytes if the first layer had ``tilt`` per cent fewer bits, the last as many more, and the sum stayed."""
    layers = max((unit.block.layer or 0 for unit in modules), default=0)
    if not tilt or not layers:
        return [unit.footprint for unit in modules]
    return [
        unit.footprint
        if unit.block.layer is None
        else unit.footprint * (100 * layers + tilt * (2 * unit.block.layer - layers)) // (100 * layers)
        for unit in modules
    ]


def full_load(case: Case, modules: tuple[Unit, ...], *, largest_scratch: bool) -> Load:
    """What really lies on a card: weights, cache, its 16-bit temporary, scratch, tables, one forward pass, context and other processes."""
    weights = [0, *accumulate(unit.resident for unit in modules)]
    kept = [0, *accumulate(unit.cache_bytes for unit in modules)]
    scratch, working = [unit.scratch if unit.block.quantised else 0 for unit in modules], [unit.working for unit in modules]
    others = [device.reserved_bytes + CONTEXT.value for device in case.devices]
    tables, temporary, all_scratch = table_positions_bytes(case), temporary_bytes(case), max(scratch, default=0)

    def load(device: int, first: int, end: int) -> int:
        if first == end:
            return others[device]
        cached = kept[end] - kept[first]
        room = all_scratch if largest_scratch else max(scratch[first:end])
        return (
            others[device] + weights[end] - weights[first] + cached + (temporary if cached else 0) + room + tables + max(working[first:end])
        )

    return load


def temporary_bytes(case: Case) -> int:
    """Keys and values of one whole layer in half precision, which a quantised cache keeps on every card that holds some of it."""
    bits = cache_bits(case)
    if not bits.is_quantised:
        return 0
    plain = units(replace(case, settings=case.settings.with_(cache_mode="FP16")))
    return max((unit.cache_bytes for unit in plain), default=0)


def layer_ends(modules: tuple[Unit, ...]) -> tuple[int, ...]:
    """Where a run may end so that no layer is cut in two; the last norm stays with the head."""
    ends = [at + 1 for at, unit in enumerate(modules) if unit.block.kind is BlockKind.FEED_FORWARD]
    return (0, *ends[:-1], len(modules) - 2, len(modules)) if ends else (0, len(modules))


@lru_cache(maxsize=256)
def balanced_spans(case: Case) -> tuple[Span, ...]:
    """Whole layers so that the fullest card has as much left as it can; the head may lie alone on the last."""
    modules = units(case)
    ends = layer_ends(modules)
    load = full_load(case, modules, largest_scratch=False)
    caps = [device.total_bytes for device in case.devices]
    found = balanced(len(ends) - 1, caps, lambda device, first, end: load(device, ends[first], ends[end]))
    return tuple((ends[first], ends[end]) for first, end in found)


def balanced_split(case: Case) -> str:
    """The ``gpu_split`` under which the library itself arrives at the balanced placement. ``auto`` where none does."""
    return _balanced_split(_key(case))


@lru_cache(maxsize=256)
def _balanced_split(case: Case) -> str:
    wanted, modules = balanced_spans(case), units(case)
    need = split_load(modules, flash=has_flash(case))
    constant = constant_bytes(case)
    for steps in STEPS:
        numbers = []
        for device, (first, end) in enumerate(wanted):
            least = constant + need(device, first, end)
            above = constant + need(device, first, end + 1) if end < len(modules) else None
            numbers.append(_number(least, above, case.devices[device].total_bytes, steps))
        if placing_of(case, numbers) == wanted:
            return write_numbers(numbers)
    return AUTO


def _number(least: int, above: int | None, total: int, steps: int) -> float:
    """Midway between what must fit and what must not; the last card is given all it has."""
    if above is None:
        return max(ceil(least * steps / GiB) / steps, float(total // GiB))
    return round((least + above) / 2 / GiB * steps) / steps


def placing_of(case: Case, numbers: list[float]) -> tuple[Span, ...] | None:
    """The placement a split leads to, None where the library finds no room."""
    (found,) = _by_split(_key(case), tuple(numbers), ((has_flash(case), 0),))
    return None if found.missing else found.spans


def layer_counts(case: Case, spans: tuple[Span, ...]) -> tuple[int, ...]:
    """Layers whose attention, and so whose cache, lies on each card."""
    modules = units(case)
    return tuple(sum(unit.block.kind is BlockKind.ATTENTION for unit in modules[first:end]) for first, end in spans)


def resolve(case: Case) -> Case:
    """The case with every default said; several cards get the balanced split, unless each layer lies on all of them."""
    named = with_defaults(case)
    if named.settings.has("gpu_split"):
        return named
    several = len(named.devices) > 1 and not named.settings.flag("tensor_parallel")
    return named.with_settings(gpu_split=balanced_split(named) if several else NONE)
