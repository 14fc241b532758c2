"""Each rank's share of the budget: what was free before loading, what the weights take, and what is left for the pools."""

from functools import lru_cache

from ullage.domain.case import Case
from ullage.domain.checkpoint import EXPERT_ROLES
from ullage.domain.ledger import NOTHING, Amount, amount_of
from ullage.domain.machine import Device
from ullage.engines.sglang import versions as fact
from ullage.engines.sglang.cache import Pool, pools
from ullage.engines.sglang.fraction import is_multimodal, tower_factor
from ullage.engines.sglang.resolve import capability, rules
from ullage.engines.sglang.shards import RankWeights, offloaded, rank_weights
from ullage.engines.sglang.sizing import Sizes, size, with_tokens
from ullage.engines.sglang.versions import Tower
from ullage.frozen import dataclass
from ullage.units import MiB

_FP4_PRODUCTS = (10, 0)
AITER_LONG, AITER_FACTOR = 8192, 0.85  # mem_fraction_static of AITER kernels above this length, whoever set it


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """One device's part."""

    device: Device
    weights: RankWeights
    pool: Pool
    before: Amount  # free before loading
    loaded: Amount  # what loading took, and a draft's weights where the release counts them
    budget: int  # of weights and pools, expected
    rest: Amount  # what the weights leave of the budget; negative where they pass it
    low: Sizes
    sizes: Sizes  # expected
    high: Sizes

    @property
    def cache(self) -> Amount:
        """Bytes of keys and values."""
        return Amount(self.low.cache_bytes, self.sizes.cache_bytes, self.high.cache_bytes)

    @property
    def state(self) -> Amount:
        """Bytes of recurrent state."""
        found = sorted((self.low.state_bytes, self.sizes.state_bytes, self.high.state_bytes))
        return Amount(*found)

    @property
    def tokens(self) -> Amount:
        """Tokens of the pool."""
        return Amount(self.low.tokens, self.sizes.tokens, self.high.tokens)


def fraction(case: Case) -> float:
    """``mem_fraction_static`` as the release uses it: AITER lowers it for long contexts, early ones a stated one too for vision models."""
    said = case.settings.number("mem_fraction_static") or 0.0
    if case.settings.text("attention_backend") == "aiter" and (case.settings.integer("context_length") or 0) > AITER_LONG:
        said *= AITER_FACTOR if case.version.parts >= (0, 4, 7) else 1.0
    return said * tower_factor(case, stated=True) if rules(case).tower is Tower.ALWAYS else said


def is_capped(case: Case) -> bool:
    """Whether the pool has a stated size instead of filling what is left."""
    return case.settings.integer("max_total_tokens") is not None


def network(case: Case) -> Amount:
    """Communication buffers made before the weights are loaded."""
    return amount_of(fact.NETWORK) if case.parallel.tensor * case.parallel.pipeline > 1 else NOTHING


def reserved_for_images(case: Case) -> int:
    """What is kept back from the pool for image features."""
    return rules(case).tower_reserved_mib * MiB if is_multimodal(case) else 0


def ranks(case: Case) -> tuple[Rank, ...]:
    """Every device of the placement, in order: replicas of pipeline stages of tensor-parallel ranks."""
    return _ranks(case)


@lru_cache(maxsize=64)
def _ranks(case: Case) -> tuple[Rank, ...]:
    """Free memory is the least of any rank, and every rank gets the tokens of the one with the fewest."""
    weights, stage_pools = rank_weights(case), pools(case)
    if not case.devices:
        return ()
    before = min((_before(case, device) for device in case.devices), key=lambda amount: amount.expected)
    loads = [_loaded(case, one) for one in weights]
    heaviest = max(loads, key=lambda amount: amount.expected)
    rest = _rest(case, before, heaviest)
    measured = [[size(case, pool, left) for left in (rest.low, rest.expected, rest.high)] for pool in stage_pools]
    fewest = [min(stage[end].tokens for stage in measured) for end in range(3)]
    found = []
    for index, device in enumerate(case.devices):
        stage = (index // case.parallel.tensor) % case.parallel.pipeline
        own = [
            with_tokens(case, stage_pools[stage], tokens, slots=sizes.slots, state=sizes.state_bytes)
            for tokens, sizes in zip(fewest, measured[stage], strict=True)
        ]
        found.append(
            Rank(
                device=device,
                weights=weights[stage],
                pool=stage_pools[stage],
                before=before,
                loaded=loads[stage],
                budget=int(before.expected * fraction(case)) - reserved_for_images(case),
                rest=rest,
                low=own[0],
                sizes=own[1],
                high=own[2],
            )
        )
    return tuple(found)


def _before(case: Case, device: Device) -> Amount:
    """What is free when loading begins: the device less other processes, the driver context and communication buffers."""
    taken = amount_of(fact.CONTEXT) + network(case)
    there = device.total_bytes - device.reserved_bytes
    return Amount(max(0, there - taken.high), max(0, there - taken.expected), max(0, there - taken.low))


def _loaded(case: Case, weights: RankWeights) -> Amount:
    draft = weights.draft if rules(case).draft_budgeted else 0
    tensors = max(0, weights.nbytes + draft - offloaded(case))
    copies = weights.parameters if _shuffles(case) else unpacked_experts(case)
    return Amount(tensors, tensors, tensors + copies) + amount_of(fact.LOADING)


def _shuffles(case: Case) -> bool:
    """Whether weights may lie twice after loading: AITER kernels shuffle fp8 weights into a copy (sgl-project/sglang#7691)."""
    return case.settings.text("attention_backend") == "aiter" and case.model.checkpoint.scheme.startswith("fp8")


def unpacked_experts(case: Case) -> int:
    """What experts in FP4 may take beside their stored bytes on cards without FP4 products: unpacked to 8 bits, twice as much.

    Eight H200 loaded 125.65 GiB each of DeepSeek-V4-Pro, 23.6 more than is stored, and L20 are left a thirtieth of the tokens that the
    stored bytes would leave (the reports of July 2026); which releases unpack how is not known.
    """
    able = capability(case)
    if able is None or able >= _FP4_PRODUCTS or "fp4" not in case.model.checkpoint.scheme:
        return 0
    stored = sum(tensor.nbytes for tensor in case.model.checkpoint.tensors if tensor.role in EXPERT_ROLES)
    return stored // max(1, case.parallel.tensor * case.parallel.pipeline)


def _rest(case: Case, before: Amount, loaded: Amount) -> Amount:
    """Free after loading less the part of the free memory before it that is not static, and less what images need."""
    share, images = fraction(case), reserved_for_images(case)
    return Amount(
        int(before.low * share) - loaded.high - images,
        int(before.expected * share) - loaded.expected - images,
        int(before.high * share) - loaded.low - images,
    )
