"""Tensor parallelism (0.2.0 on): every layer on every card, by whole key-value heads, 128 columns of the MLP and 32 rows of the head."""

from functools import lru_cache

from ullage.domain.case import Case
from ullage.engines.exllamav2.settings import split_numbers
from ullage.engines.exllamav2.units import HALF, Unit, step_of, table_positions_bytes, units
from ullage.engines.exllamav2.versions import CONTEXT
from ullage.formulas.blocks import BlockKind
from ullage.formulas.placement import proportional
from ullage.formulas.sharding import kv_heads_of
from ullage.frozen import dataclass
from ullage.units import GiB

_COLUMNS, _ROWS = 128, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one card holds of the model, and the key-value heads it serves."""

    heads: int
    weights: int
    cache: int
    scratch: int


def parts(case: Case) -> tuple[Part, ...]:
    """One part for each card, in proportion to its memory, or to ``gpu_split`` where that has numbers."""
    numbers = split_numbers(case)
    if numbers is None:
        memory = [max(1, device.total_bytes - device.reserved_bytes - CONTEXT.value) for device in case.devices]
    else:
        memory = [max(0, int(number * GiB)) for number in (*numbers, *(0.0 for _ in case.devices))[: len(case.devices)]]
    return _parts(units(case), tuple(memory), max((kv_heads_of(layer) for layer in case.model.architecture.layers), default=1) or 1)


@lru_cache(maxsize=64)
def _parts(modules: tuple[Unit, ...], memory: tuple[int, ...], kv_heads: int) -> tuple[Part, ...]:
    heads = proportional(kv_heads, memory)
    attention = sum(unit.resident for unit in modules if unit.block.kind is BlockKind.ATTENTION)
    cache = sum(unit.cache_bytes for unit in modules)
    rest = sum(unit.resident for unit in modules) - attention
    left = [max(0, have - (attention + cache) * mine // kv_heads) for have, mine in zip(memory, heads, strict=True)]
    others = proportional(rest, left)
    scratch = max((unit.scratch for unit in modules if unit.block.quantised), default=0)
    return tuple(
        Part(
            heads=mine,
            weights=attention * mine // kv_heads + more,
            cache=cache * mine // kv_heads,
            scratch=scratch * max(1, mine) // kv_heads,
        )
        for mine, more in zip(heads, others, strict=True)
    )


def pinned_bytes(case: Case) -> int:
    """Two pinned buffers on the host, as large as the widest output of one pass."""
    architecture, step = case.model.architecture, step_of(case)
    widest = max((getattr(layer.feed_forward, "intermediate", 0) for layer in architecture.layers), default=0)
    return 2 * HALF * step.chunk * max(architecture.vocab_size, widest)


def buffers_bytes(case: Case) -> int:
    """Tables, and three states that are exchanged between the cards."""
    return table_positions_bytes(case) + 3 * HALF * step_of(case).tokens * case.model.architecture.hidden_size
