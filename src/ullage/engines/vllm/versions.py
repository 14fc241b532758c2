"""What differs between releases of vLLM, as data. Boundaries are exact to the releases read (see docs/engines.md)."""

from enum import StrEnum
from functools import cache

from ullage.domain.case import Case, Version
from ullage.domain.provenance import Cited, Constant, Measured
from ullage.frozen import dataclass
from ullage.units import GiB, MiB


def version(text: str) -> Version:
    """``0.10.2`` as a version."""
    return Version.of(text)


OLDEST, NEWEST, DEFAULT = version("0.2.0"), version("0.33.0"), version("0.33.0")


class Core(StrEnum):
    """The two engines that were vLLM."""

    V0 = "V0"
    V1 = "V1"


class Accounting(StrEnum):
    """What the start-up profile subtracts from the budget."""

    EVERYTHING = "everything"  # all use of the device, context and other processes too (to 0.4.0, and V1 to 0.9.0)
    OWN = "own"  # free memory before minus after, allocator slack included (0.4.1 to 0.6.3)
    PARTS = "parts"  # weights + torch peak + non-torch growth (0.6.4 on)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One release's behaviour. ``sampler_bytes`` are tenths of a byte per sampled row and vocabulary entry."""

    core: Core
    accounting: Accounting
    utilization: float
    graphs_budgeted: bool
    null_block: bool
    sampler_bytes: tuple[int, int, int]  # low, expected, high, in tenths of a byte
    sampler_on_every_rank: bool
    hidden_copies: int  # hidden-sized tensors alive beside the widest pair of a layer
    hidden_copies_summed: int  # the same where partial sums cross a bus and not a fast link
    expert_workspace: bool  # buffers of fused experts are kept between layers and under the sampler (since 0.12)
    activation_base: int  # bytes
    latent_cache: bool  # MLA keeps the latent (since 0.7.1); before, padded keys and values of every head
    hybrid_manager: bool
    async_scheduling: bool
    windows_wait: bool  # windows keep every batch under way (since 0.25), not one
    hybrid_prefixes: bool  # prefixes of models with states are cached unless it is switched off (since 0.25)
    checkpoint_states: bool  # a Mamba2 layer whose prefixes are cached keeps one state more, that of the prompt's end (since 0.32)
    dense_slabs: bool  # pages of different kinds overlap in one slab (since 0.27)
    padded_percent: int  # the largest kind of layer sets the group's size below this many percent of the smallest
    tokens_by_concurrency: bool  # "KV cache size" = concurrency x length (since 0.20.1)
    chunked_default_tokens: int
    chunked_above: int | None  # V0 switches chunked prefill on above this length
    swap_default_gib: int
    context_inside: bool  # the driver context counts against the budget
    network_inside: bool  # NCCL buffers count against the budget


def core_of(case: Case) -> Core:
    """Which engine a release runs: V0 to 0.7, V1 from 0.11; between, V1 unless asked otherwise or dual chunk attention needs V0."""
    at = case.version.parts
    if at >= (0, 11):
        return Core.V1
    if at < (0, 8):
        return Core.V1 if dict(case.environment).get("VLLM_USE_V1") == "1" and at >= (0, 7) else Core.V0
    asked = dict(case.environment).get("VLLM_USE_V1")
    if asked is not None:
        return Core.V0 if asked == "0" else Core.V1
    return Core.V0 if case.model.architecture.dual_chunk is not None else Core.V1


@cache
def rules_for(at: tuple[int, ...], core: Core, capability: tuple[int, int] | None = None) -> Rules:
    """The rules of a release, given as numbers, on a device of this compute capability."""
    v1 = core is Core.V1
    return Rules(
        core=core,
        accounting=_accounting(at, v1=v1),
        utilization=0.92 if at >= (0, 20) else 0.90,
        graphs_budgeted=at >= (0, 20),
        null_block=at >= (0, 29),
        sampler_bytes=_sampler(at, capability, v1=v1),
        sampler_on_every_rank=v1,
        hidden_copies=4 if v1 else 3,
        hidden_copies_summed=5,
        expert_workspace=v1 and at >= (0, 12),
        activation_base=16 * MiB,
        latent_cache=at >= (0, 7, 1),
        hybrid_manager=v1 and at >= (0, 9),
        async_scheduling=v1 and at >= (0, 14),
        windows_wait=at >= (0, 25),
        hybrid_prefixes=at >= (0, 25),
        checkpoint_states=at >= (0, 32),
        dense_slabs=at >= (0, 27),
        padded_percent=150 if at >= (0, 19) else 125 if at >= (0, 12) else 100,
        tokens_by_concurrency=at >= (0, 20, 1),
        chunked_default_tokens=2048 if at >= (0, 6, 5) else 512,
        chunked_above=32768 if not v1 and at >= (0, 5, 4) else None,
        swap_default_gib=0 if v1 else 4,
        context_inside=_accounting(at, v1=v1) is Accounting.EVERYTHING,
        network_inside=at < (0, 11),
    )


def _accounting(at: tuple[int, ...], *, v1: bool) -> Accounting:
    if v1:
        return Accounting.EVERYTHING if at < (0, 9, 1) else Accounting.PARTS
    if at < (0, 4, 1):
        return Accounting.EVERYTHING
    return Accounting.OWN if at < (0, 6, 4) else Accounting.PARTS


def _sampler(at: tuple[int, ...], capability: tuple[int, int] | None, *, v1: bool) -> tuple[int, int, int]:
    """Logits, fp32 copy, sort keys and indices, softmax: the PyTorch-native path to 0.16, fused kernels afterwards.

    From the project's field logs of 0.11 and 0.19 on H100: activation peaks over seven vocabularies.
    """
    if v1 and at < (0, 8, 4):
        return (40, 95, 380)  # the profile made logits only; the sampler ran after it
    if at < (0, 6, 4):
        return (170, 240, 380)  # sorted in the model's dtype, before logits were cast to fp32 first
    if at < (0, 17):
        return (330, 380, 410)
    if at < (0, 21) and (capability is None or capability < (9, 0)):
        return (140, 240, 380)  # the fused sampler came to these cards in 0.21
    return (135, 145, 240)


# What lies on a device before and beside what the profile names. GiB figures from start-up logs.
CONTEXT = Constant(
    name="vllm_cuda_context",
    value=int(0.51 * GiB),
    low=int(0.30 * GiB),
    high=int(0.75 * GiB),
    unit="bytes",
    source=Measured(record="start-up free 78.68 of 79.19 GiB, H100, vLLM 0.19, one rank"),
)
EARLY_OVERHEAD = Constant(
    name="vllm_early_non_torch",
    value=int(0.587 * GiB),
    low=int(0.30 * GiB),
    high=int(0.95 * GiB),
    unit="bytes",
    source=Cited(at="QwenLM/Qwen3 issue 295: 459 blocks on a 23.69 GiB card, vLLM of April 2024"),
)
NON_TORCH_V0 = Constant(
    name="vllm_v0_non_torch",
    value=int(0.28 * GiB),
    low=int(0.03 * GiB),
    high=int(0.60 * GiB),
    unit="bytes",
    source=Cited(at="non_torch_memory lines of vLLM 0.6.4 to 0.8.5"),
)
NON_TORCH_V1 = Constant(
    name="vllm_v1_non_torch",
    value=int(0.13 * GiB),
    low=int(0.05 * GiB),
    high=int(0.35 * GiB),
    unit="bytes",
    source=Cited(at="non-torch figures of vLLM 0.11 to 0.17, one rank"),
)
NON_TORCH_NEW = Constant(
    name="vllm_v1_non_torch_018",
    value=int(0.25 * GiB),
    low=int(0.10 * GiB),
    high=int(0.50 * GiB),
    unit="bytes",
    source=Cited(at="non-torch figures of vLLM 0.18 and 0.19, one rank"),
)
NETWORK_OUTSIDE = Constant(
    name="vllm_network_before_snapshot",
    value=int(1.02 * GiB),
    low=int(0.30 * GiB),
    high=int(1.50 * GiB),
    unit="bytes",
    source=Measured(record="start-up free 77.66 of 79.19 GiB, H100, vLLM 0.19, two ranks, less the context"),
)
NETWORK_INSIDE_V0 = Constant(
    name="vllm_network_inside_v0",
    value=int(0.35 * GiB),
    low=0,
    high=int(1.8 * GiB),
    unit="bytes",
    source=Cited(at="non_torch_memory lines of vLLM 0.6.4 to 0.8.5, two and more ranks"),
)
NETWORK_INSIDE_V1 = Constant(
    name="vllm_network_inside_v1",
    value=int(0.41 * GiB),
    low=int(0.10 * GiB),
    high=int(1.0 * GiB),
    unit="bytes",
    source=Cited(at="non-torch figures of vLLM 0.11, two ranks less one rank"),
)
NETWORK_INSIDE_NEW = Constant(
    name="vllm_network_inside_v1_018",
    value=int(1.84 * GiB),
    low=int(0.30 * GiB),
    high=int(2.2 * GiB),
    unit="bytes",
    source=Cited(at="non-torch figures of vLLM 0.19 on NVLink H100, two and four ranks less one rank"),
)
NETWORK_WITHOUT_LINK = Constant(
    name="vllm_network_without_link",
    value=int(0.02 * GiB),
    low=0,
    high=int(0.45 * GiB),
    unit="bytes",
    source=Cited(at="non_torch_memory lines of vLLM 0.7 and 0.8 on L40S, RTX 4090 and 16 RTX 3090: as one rank alone"),
)
NETWORK_OUTSIDE_WITHOUT_LINK = Constant(
    name="vllm_network_before_snapshot_without_link",
    value=int(0.30 * GiB),
    low=int(0.05 * GiB),
    high=int(0.95 * GiB),
    unit="bytes",
    source=Cited(at="vllm-project/vllm field log of 0.28, eight RTX PRO 4500: 1.37 GiB beyond the budget, less the context"),
)
NETWORK_OF_EXPERTS = Constant(
    name="vllm_network_of_experts_before_snapshot",
    value=int(0.48 * GiB),
    low=0,
    high=int(0.70 * GiB),
    unit="bytes",
    source=Measured(record="start-up free 77.18 of 79.19 GiB for three mixtures on two H100, vLLM 0.19, against 77.66 for dense models"),
)
GRAPH_BASE = Constant(
    name="vllm_graph_base",
    value=int(0.25 * GiB),
    low=int(0.05 * GiB),
    high=int(0.50 * GiB),
    unit="bytes",
    source=Cited(at="graph pool sizes of vLLM 0.19 over 24 to 80 layers"),
)
GRAPH_PER_LAYER = Constant(
    name="vllm_graph_per_layer_and_size",
    value=205_000,
    low=100_000,
    high=420_000,
    unit="bytes per layer and captured batch size",
    source=Cited(at="graph pool sizes of vLLM 0.19 over 24 to 80 layers, 102 captured sizes"),
)
GRAPH_PER_EXPERT_LAYER = Constant(
    name="vllm_graph_per_expert_layer_and_size",
    value=300_000,
    low=120_000,
    high=520_000,
    unit="bytes per layer and captured batch size, where a token has four experts or more",
    source=Cited(at="graph pool sizes of vLLM 0.19: gpt-oss-20b and Kimi-VL against dense models and Mixtral"),
)
GRAPH_BASE_SECOND = Constant(
    name="vllm_graph_base_second_runner",
    value=int(0.10 * GiB),
    low=int(0.02 * GiB),
    high=int(0.40 * GiB),
    unit="bytes",
    source=Cited(at="graph estimate 0.42 GiB and pool 0.22 GiB of Qwen3-4B, vLLM of September 2026"),
)
GRAPH_PER_LAYER_SECOND = Constant(
    name="vllm_graph_per_layer_and_size_second_runner",
    value=90_000,
    low=45_000,
    high=300_000,
    unit="bytes per layer and captured batch size",
    source=Cited(at="graph estimate 0.42 GiB and pool 0.22 GiB of Qwen3-4B, vLLM of September 2026"),
)
CONSTANTS = (
    CONTEXT,
    EARLY_OVERHEAD,
    NON_TORCH_V0,
    NON_TORCH_V1,
    NON_TORCH_NEW,
    NETWORK_OUTSIDE,
    NETWORK_INSIDE_V0,
    NETWORK_INSIDE_V1,
    NETWORK_INSIDE_NEW,
    NETWORK_WITHOUT_LINK,
    NETWORK_OUTSIDE_WITHOUT_LINK,
    NETWORK_OF_EXPERTS,
    GRAPH_BASE,
    GRAPH_PER_LAYER,
    GRAPH_PER_EXPERT_LAYER,
    GRAPH_BASE_SECOND,
    GRAPH_PER_LAYER_SECOND,
)
