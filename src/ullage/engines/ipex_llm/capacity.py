"""What the fork's pool holds; and for ``generate`` how long and how many, found by planning again."""

from collections.abc import Callable

from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Ledger, Phase, Purpose
from ullage.domain.plan import Capacity
from ullage.engines.ipex_llm.ledger import ledger
from ullage.engines.ipex_llm.ranks import scarcest, token_bytes
from ullage.engines.ipex_llm.resolve import is_served
from ullage.formulas.sharding import ceil_div
from ullage.frozen import replace

LONGEST, MOST = 1 << 22, 1 << 12


def whole_token_bytes(case: Case) -> int:
    """Cache bytes of one token over all layers of the whole model."""
    return token_bytes(case, (0, len(case.model.architecture.layers)), 1)


def capacity(case: Case, planned: Ledger) -> Capacity:
    """Of the fork's pool, or of what the devices have left."""
    return _of_pool(case) if is_served(case) else _of_devices(case, planned)


def sequence_blocks(case: Case, tokens: int) -> int:
    """Blocks one sequence takes."""
    return ceil_div(tokens, case.settings.integer("block_size") or 1)


def _of_pool(case: Case) -> Capacity:
    rank, size = scarcest(case), case.settings.integer("block_size") or 1
    each = sequence_blocks(case, case.workload.context_tokens or case.settings.integer("max_model_len") or 1)
    slots, blocks = case.settings.integer("max_num_seqs") or 1, rank.blocks
    tokens = blocks.map(lambda count: count * size)
    return Capacity(
        kv_bytes_per_token=whole_token_bytes(case),
        kv_cache_bytes=rank.cache,
        kv_blocks=blocks,
        kv_tokens=tokens,
        max_context_tokens=tokens,
        max_sequences=blocks.map(lambda count: min(slots, count // each)),
        block_tokens=size,
        needed_bytes=each * rank.block_bytes * case.workload.concurrent_sequences,
    )


def _of_devices(case: Case, planned: Ledger) -> Capacity:
    each = max(1, whole_token_bytes(case))
    kept = sum(entry.amount.expected for entry in planned.entries if entry.purpose is Purpose.KV_CACHE and entry.phase is Phase.DECODE)
    left = [(device.total_bytes, planned.peak(device.id)) for device in case.devices]
    room = Amount(
        *(max(0, min(total - need for total, need in ends) + kept) for ends in _by_end(left)),
    )
    tokens = Amount(room.low // each, room.expected // each, room.high // each)
    return Capacity(
        kv_bytes_per_token=whole_token_bytes(case),
        kv_cache_bytes=room,
        kv_blocks=tokens,
        kv_tokens=tokens,
        max_context_tokens=_ends(lambda end: _most(lambda count: _fits(_with_context(case, count), end), LONGEST)),
        max_sequences=_ends(lambda end: _most(lambda count: _fits(_with_rows(case, count), end), MOST)),
        block_tokens=1,
        needed_bytes=0,
    )


def _by_end(left: list[tuple[int, Amount]]) -> list[list[tuple[int, int]]]:
    """What every device has and needs at the high, the expected and the low end of the need."""
    return [[(total, getattr(need, end)) for total, need in left] for end in ("high", "expected", "low")]


def _with_context(case: Case, tokens: int) -> Case:
    work = case.workload
    answer = max(1, (work.context_tokens or 1) - (work.prompt_tokens or 0))
    return replace(case, workload=replace(work, context_tokens=tokens, prompt_tokens=max(1, tokens - answer)))


def _with_rows(case: Case, rows: int) -> Case:
    return replace(case, workload=replace(case.workload, concurrent_sequences=rows))


def _fits(case: Case, end: str) -> bool:
    planned = ledger(case)
    return all(getattr(planned.peak(device.id), end) <= device.total_bytes for device in case.devices)


def _ends(find: Callable[[str], int]) -> Amount:
    low, expected, high = find("high"), find("expected"), find("low")
    return Amount(min(low, expected), expected, max(expected, high))


def _most(fits: Callable[[int], bool], most: int) -> int:
    """The largest count up to ``most`` that fits, by halving the range; 0 where none does."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
