"""The fork of vLLM on each card: what is fixed inside its budget, and what the cache gets of the rest."""

from functools import lru_cache

from ullage.catalog.tensor_formats import FP8_E4M3, model_dtype
from ullage.domain.architecture import ChunkedAttention, CrossAttention, FullAttention, LatentAttention, Mixer, SlidingAttention
from ullage.domain.case import Case
from ullage.domain.checkpoint import TensorFormat
from ullage.domain.ledger import NOTHING, Amount, amount_of
from ullage.domain.machine import Device
from ullage.engines.ipex_llm.activation import layer_part, sampler_part
from ullage.engines.ipex_llm.resolve import activation_dtype, on_cpu
from ullage.engines.ipex_llm.versions import CONTEXT, SLACK, UNSEEN, rules
from ullage.engines.ipex_llm.weights import RankWeights, rank_weights
from ullage.formulas.cache import pair_bytes
from ullage.formulas.sharding import ceil_div, kv_heads_per_rank
from ullage.frozen import dataclass, replace
from ullage.units import GiB

LATENT_HEAD_DIM = 256  # latents are unfolded to keys and values of every head, padded to this size
DEFAULT_CPU_CACHE_GIB = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """One card: its stage's weights, the block it keeps for ``block_size`` tokens, and the split of its budget."""

    device: Device
    stage: int
    weights: RankWeights
    block_bytes: int
    budget: int
    fixed: Amount  # what the fork subtracts from the budget
    blocks: Amount

    @property
    def cache(self) -> Amount:
        """Bytes of the cache, whole blocks."""
        return self.blocks.map(lambda count: count * self.block_bytes)


def is_limited(device: Device) -> bool:
    """Whether this is a card that refuses single allocations above 4 GB: Intel's cards but for the Data Center Max."""
    return device.kind == "xpu" and "max" not in device.name.lower()


def context(device: Device) -> Amount:
    """The driver context, and at the high end what a card of this kind has been seen to keep from PyTorch."""
    if device.kind != "xpu":
        return NOTHING
    found = amount_of(CONTEXT)
    high = max(found.high, device.total_bytes * UNSEEN.value // 1000) if is_limited(device) else found.high
    return Amount(found.low, found.expected, high)


def cache_format(case: Case) -> TensorFormat:
    """The format of keys and values."""
    said = case.settings.text("kv_cache_dtype") or "auto"
    return FP8_E4M3 if said.startswith("fp8") else model_dtype(activation_dtype(case))


def row_bytes(mixer: Mixer, ways: int, fmt: TensorFormat) -> int:
    """Key and value of one token in one layer on one of ``ways`` ranks; windows are kept whole and latents unfolded."""
    match mixer:
        case FullAttention() | SlidingAttention() | ChunkedAttention() | CrossAttention():
            return pair_bytes(replace(mixer, kv_heads=kv_heads_per_rank(mixer.kv_heads, ways)), fmt)
        case LatentAttention():
            return 2 * ceil_div(mixer.query_heads, ways) * fmt.nbytes(LATENT_HEAD_DIM)
        case _:
            return 0


def token_bytes(case: Case, layers: tuple[int, int], ways: int) -> int:
    """Cache bytes of one token over some layers."""
    fmt = cache_format(case)
    return sum(row_bytes(mixer, ways, fmt) for layer in case.model.architecture.layers[slice(*layers)] for mixer in layer.mixers)


def ranks(case: Case) -> tuple[Rank, ...]:
    """Every card of the placement, in order."""
    return _ranks(case)


@lru_cache(maxsize=64)
def _ranks(case: Case) -> tuple[Rank, ...]:
    stages = rank_weights(case)
    step = NOTHING
    if rules(case).peak_counted and not on_cpu(case):
        layer, sampler = layer_part(case).amount, sampler_part(case).amount
        step = Amount(max(layer.low, sampler.low), max(layer.expected, sampler.expected), max(layer.high, sampler.high))
        step += amount_of(SLACK)
    found = []
    for index, device in enumerate(case.devices):
        stage = index // case.parallel.tensor % len(stages)
        weights = stages[stage]
        block = token_bytes(case, weights.layers, case.parallel.tensor) * (case.settings.integer("block_size") or 1)
        budget, fixed = budget_bytes(case, device), step + Amount.exactly(weights.nbytes)
        blocks = _blocks(case, block, budget, fixed)
        found.append(Rank(device=device, stage=stage, weights=weights, block_bytes=block, budget=budget, fixed=fixed, blocks=blocks))
    return tuple(found)


def budget_bytes(case: Case, device: Device) -> int:
    """The fraction of the card's total; on processors the weights are beside a cache of stated size."""
    return int(device.total_bytes * (case.settings.number("gpu_memory_utilization") or 0.0))


def capped_bytes(case: Case) -> int | None:
    """The stated size of the cache on processors (VLLM_CPU_KVCACHE_SPACE), or None where the budget is filled."""
    if not on_cpu(case):
        return None
    said = dict(case.environment).get("VLLM_CPU_KVCACHE_SPACE", "")
    return (int(said) if said.isdecimal() and int(said) else DEFAULT_CPU_CACHE_GIB) * GiB


def is_capped(case: Case) -> bool:
    """Whether the cache has a stated size instead of filling what is left."""
    return on_cpu(case) or case.settings.integer("num_gpu_blocks_override") is not None


def _blocks(case: Case, block: int, budget: int, fixed: Amount) -> Amount:
    if not block:
        return NOTHING
    stated, capped = case.settings.integer("num_gpu_blocks_override"), capped_bytes(case)
    if stated is not None:
        return Amount.exactly(stated)
    if capped is not None:
        return Amount.exactly(capped // block)
    return Amount(*(max(0, (budget - part) // block) for part in (fixed.high, fixed.expected, fixed.low)))


def scarcest(case: Case) -> Rank:
    """The card with the fewest blocks: every card uses as many as this one has."""
    return min(ranks(case), key=lambda rank: (rank.blocks.expected, rank.blocks.low))
