"""What differs between releases of SGLang, as data. Boundaries are exact to the releases read (see docs/engines.md)."""

from enum import StrEnum
from functools import cache

from ullage.domain.case import Version
from ullage.domain.ledger import Amount, amount_of
from ullage.domain.provenance import Assumed, Cited, Constant
from ullage.frozen import dataclass
from ullage.units import GiB, MiB

Release = tuple[int, ...]


def version(text: str) -> Version:
    """``0.5.8`` as a version; of ``0.4.9.post2`` the numbers."""
    parts = tuple(int(part.removeprefix("post")) for part in text.split(".") if part.removeprefix("post").isdigit())
    return Version(parts, text)


OLDEST, NEWEST, DEFAULT = version("0.4.0"), version("0.5.23"), version("0.5.23")
DUAL_CHUNK_FIRST, DUAL_CHUNK_LAST = version("0.5.1"), version("0.5.19")
DUAL_CHUNK_BACKEND = "dual_chunk_flash_attn"


class Reserve(StrEnum):
    """How the default of ``mem_fraction_static`` is found."""

    BY_RANKS = "a table by tensor parallelism"  # to 0.4.4
    BY_RANKS_AND_SIZE = "the table to 80 GiB, more on larger cards"  # 0.4.5 to 0.4.7
    BY_SIZE = "GiB by the size of the card and the ranks"  # 0.4.8 to 0.5.2
    BY_WORK = "1.5 MiB a token of the chunk and 2 MiB a captured sequence"  # 0.5.3 on


class Tower(StrEnum):
    """How a vision model lowers the fraction."""

    ALWAYS = "always, a stated fraction too"
    DEFAULT = "the default only"
    COMPLEXITY = "the default only, by the size of the tower"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One release's behaviour."""

    reserve: Reserve
    tower: Tower
    tower_percent: int
    spec_reserve_mib: int  # for EAGLE and its kin, added to the reserve
    standalone_reserve_mib: int
    draft_budgeted: bool  # draft weights and draft cache are inside mem_fraction_static
    prefill_graphs: bool  # prompts are captured as well
    latent_prefill_graphs_mib: int
    unknown_percent: int  # the fraction where the card's memory is not known
    value_width: bool  # cells count keys and values by their own widths
    window_pool: bool  # windows have a pool of their own, where the family is listed
    exact_window_cells: bool
    state_ratio: bool  # recurrent state by --mamba-full-memory-ratio
    half_requests: bool  # at most one request for two tokens of the pool
    tower_reserved_mib: int  # set aside for image features before the cache is sized
    even_stages: bool  # extra layers spread over the last stages; before, the last stage took all
    default_serve: bool  # `sglang serve` exists


@cache
def rules_for(at: Release) -> Rules:
    """The rules of a release, given as numbers."""
    return Rules(
        reserve=_reserve(at),
        tower=Tower.ALWAYS if at < (0, 4, 8) else Tower.DEFAULT if at < (0, 5, 1) else Tower.COMPLEXITY,
        tower_percent=95 if at < (0, 4, 5) or at >= (0, 5, 1) else 90,
        spec_reserve_mib=_spec_reserve(at),
        standalone_reserve_mib=6144 if (0, 5, 3) <= at < (0, 5, 14) else _spec_reserve(at),
        draft_budgeted=at >= (0, 5, 14),
        prefill_graphs=at >= (0, 5, 10),
        latent_prefill_graphs_mib=1536,
        unknown_percent=95 if at >= (0, 5, 20) else 88,
        value_width=at >= (0, 5, 5),
        window_pool=at >= (0, 5, 1),
        exact_window_cells=at >= (0, 5, 9),
        state_ratio=at >= (0, 5, 4),
        half_requests=at >= (0, 5, 10),
        tower_reserved_mib=100 if at >= (0, 5, 20) else 0,
        even_stages=at >= (0, 5, 3),
        default_serve=at >= (0, 5, 6),
    )


def _reserve(at: Release) -> Reserve:
    if at < (0, 4, 5):
        return Reserve.BY_RANKS
    if at < (0, 4, 8):
        return Reserve.BY_RANKS_AND_SIZE
    return Reserve.BY_SIZE if at < (0, 5, 3) else Reserve.BY_WORK


def _spec_reserve(at: Release) -> int:
    """2 GiB, 4 GiB from 0.5.10, none since draft weights are counted."""
    if at < (0, 4, 8) or at >= (0, 5, 14):
        return 0
    return 4096 if at >= (0, 5, 10) else 2048


# Families whose windows get a pool of their own, and the release that listed them (is_hybrid_swa_model).
WINDOW_FAMILIES: tuple[tuple[Release, tuple[str, ...]], ...] = (
    ((0, 5, 1), ("GptOssForCausalLM",)),
    ((0, 5, 8), ("Llama4ForConditionalGeneration", "MiMoV2FlashForCausalLM")),
    ((0, 5, 9), ("Step3p5ForCausalLM",)),
    ((0, 5, 11), ("Gemma4ForCausalLM", "Gemma4ForConditionalGeneration")),
    ((0, 5, 12), ("LagunaForCausalLM", "MiMoV2ForCausalLM")),
    ((0, 5, 13), ("Step3p7ForConditionalGeneration", "Gemma4UnifiedForConditionalGeneration")),
    ((0, 5, 19), ("GraniteSWAForCausalLM",)),
    ((0, 5, 23), ("BeamForCausalLM", "MellumForCausalLM", "InklingForConditionalGeneration", "UnlimitedOCRForCausalLM")),
)
# Families that run as text models unless --enable-multimodal is given (0.4.6 on).
TEXT_BY_DEFAULT = frozenset(
    {
        "Gemma3ForConditionalGeneration",
        "Llama4ForConditionalGeneration",
        "Step3VLForConditionalGeneration",
        "InklingForConditionalGeneration",
    }
)

# Families that compute their rotary angles as they go instead of keeping tables.
WITHOUT_TABLES = frozenset({"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"})


def times(constant: Constant, count: int) -> Amount:
    """A constant for ``count`` things."""
    each = amount_of(constant)
    return Amount(each.low * count, each.expected * count, each.high * count)


CONTEXT = Constant(
    name="sglang_cuda_context",
    value=int(0.60 * GiB),
    low=int(0.35 * GiB),
    high=int(0.95 * GiB),
    unit="bytes",
    source=Cited(at="sgl-project/sglang#4826: 139.21 GiB free before loading on an H200 that reports 139.81"),
)
NETWORK = Constant(
    name="sglang_network_before_loading",
    value=int(1.30 * GiB),
    low=int(0.30 * GiB),
    high=int(2.2 * GiB),
    unit="bytes",
    source=Cited(at="SemiAnalysisAI/InferenceX#2128: 137.90 GiB free before loading on one of eight H200, less the context"),
)
LOADING = Constant(
    name="sglang_loading_growth",
    value=int(0.06 * GiB),
    low=0,
    high=int(0.45 * GiB),
    unit="bytes",
    source=Cited(at="sgl-project/sglang#4826: loading took 8.13 GiB for 8.01 GiB of tensors"),
)
FLASHINFER = Constant(
    name="sglang_flashinfer_workspace",
    value=384 * MiB,
    low=384 * MiB,
    high=512 * MiB,
    unit="bytes",
    source=Cited(at="SGLANG_FLASHINFER_WORKSPACE_SIZE of 0.5.8, 512 MiB for some families"),
)
GRAPH_BASE = Constant(
    name="sglang_graph_base",
    value=int(0.45 * GiB),
    low=int(0.10 * GiB),
    high=int(0.80 * GiB),
    unit="bytes",
    source=Cited(at="sgl-project/sglang#11830: 1.44 GiB for 52 sizes to 512; #12978: 1.00 to 1.04 GiB for 36 sizes to 256"),
)
GRAPH_PER_LAYER = Constant(
    name="sglang_graph_per_layer_and_size",
    value=220_000,
    low=80_000,
    high=420_000,
    unit="bytes per layer and captured batch size",
    source=Cited(at="sgl-project/sglang#11830 and #12978, less base and logits"),
)
GRAPH_LOGITS = Constant(
    name="sglang_graph_logits",
    value=8,
    low=4,
    high=12,
    unit="bytes per captured sequence and vocabulary entry",
    source=Cited(at="logits in 16 bits and their fp32 copies stay in the graphs' pool: sgl-project/sglang#11830 and #12978"),
)
GRAPH_PER_EXPERT_ELEMENT = Constant(
    name="sglang_graph_per_sequence_layer_and_element_of_experts",
    value=22,
    low=4,
    high=70,
    unit="bytes per captured sequence, layer and hidden element of a mixture of experts",
    source=Cited(
        at="sgl-project/sglang#5893: 6.2 GiB for 256 sequences of DeepSeek-V3, 3 GiB less for 160; less in vllm-project/vllm#21348"
    ),
)
DEEPEP = Constant(
    name="sglang_deepep_buffers",
    value=2 * GiB,
    low=1 * GiB,
    high=6 * GiB,
    unit="bytes",
    source=Cited(at="reserve_for_deepep_a2a_mb of SGLang 0.5.16 on"),
)
GATHER = Constant(
    name="sglang_gather_per_captured_sequence_and_rank",
    value=1 * MiB,
    low=MiB // 4,
    high=3 * MiB,
    unit="bytes per captured sequence and rank of data-parallel attention",
    source=Cited(at="reserve_for_graph_mb of SGLang 0.5.3 on: 3 MiB a sequence and rank"),
)
WARM = Constant(
    name="sglang_warm_growth",
    value=int(0.35 * GiB),
    low=int(0.10 * GiB),
    high=int(1.20 * GiB),
    unit="bytes",
    source=Assumed(why="library handles, kernels loaded on first use and allocator slack of one process"),
)
CONSTANTS = (
    CONTEXT,
    NETWORK,
    LOADING,
    FLASHINFER,
    GRAPH_BASE,
    GRAPH_PER_LAYER,
    GRAPH_LOGITS,
    GRAPH_PER_EXPERT_ELEMENT,
    DEEPEP,
    GATHER,
    WARM,
)
