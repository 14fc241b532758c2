"""What differs between releases of KTransformers, as data: two products under one name, with a rule table each.

Read from the tags v0.1.0 to v0.3.2 of the classic server and v0.4.2 to v0.7.0 of kt-kernel with its fork of SGLang. A report that names
a day and no release means the newest tag of that day; ``TAGGED`` lists them.
"""

from enum import StrEnum
from functools import cache

from ullage.domain.case import Case, Version
from ullage.domain.provenance import Assumed, Cited, Constant, Measured
from ullage.frozen import dataclass
from ullage.units import GiB, MiB

Release = tuple[int, ...]


def version(text: str) -> Version:
    """``0.2.4`` as a version."""
    return Version.of(text)


OLDEST, NEWEST, DEFAULT = version("0.1.0"), version("0.7.2"), version("0.7.2")
TAGGED = (
    ("0.1.0", "2024-07-27"),
    ("0.1.1", "2024-08-01"),
    ("0.1.2", "2024-08-15"),
    ("0.1.3", "2024-08-29"),
    ("0.1.4", "2024-08-30"),
    ("0.2.0", "2025-02-10"),
    ("0.2.1", "2025-02-15"),
    ("0.2.2", "2025-03-02"),
    ("0.2.3", "2025-03-06"),
    ("0.2.4", "2025-04-02"),
    ("0.3.0", "2025-04-29"),
    ("0.3.1", "2025-05-17"),
    ("0.3.2", "2025-07-01"),
    ("0.4.2", "2025-11-20"),
    ("0.4.3", "2025-12-05"),
    ("0.5.0", "2025-12-24"),
    ("0.5.1", "2026-01-22"),
    ("0.5.3", "2026-04-01"),
    ("0.6.1", "2026-04-30"),
    ("0.6.3", "2026-06-21"),
    ("0.7.0", "2026-08-17"),
)


class Product(StrEnum):
    """The two programs that were KTransformers."""

    CLASSIC = "the classic server"  # its own Python server, until 0.3.2
    KT_KERNEL = "kt-kernel in a fork of SGLang"  # since 0.4


def product(case: Case) -> Product:
    """Which of them a release is."""
    return Product.CLASSIC if case.version.parts < (0, 4) else Product.KT_KERNEL


class Prefill(StrEnum):
    """How latent attention runs a prompt."""

    ABSORBED = "scores of a chunk against the whole cache"
    EXPANDED = "flash attention on keys and values unpacked from the latent"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicRules:
    """One release of the classic server."""

    prefill: Prefill
    score_rows: int  # queries of one score matrix where prefill is absorbed
    score_rows_settable: bool  # by the YAML keyword ``chunck_size``
    chunk_setting: str | None  # the setting that cuts the whole forward pass, None where the prompt runs in one
    chunk_tokens: int  # its default in the server, 0 where there is none
    chat_chunk_tokens: int  # the same in local_chat
    cache_tokens: int  # default of cache_lens
    new_tokens: int  # default of max_new_tokens
    response_tokens: int | None  # default of max_response_tokens, None where it is gone
    cache_flag: bool  # cache_lens is a flag; before, it stood in a file
    page_tokens: int  # pages of a latent cache
    attention_quantised: bool  # attention's linears are repacked too, kv_b never
    latent_copies: int  # how often kv_b is held: absorbed halves are copies beside it, or views of it
    head_quantised: bool
    last_logits: bool  # only the last position's logits are computed
    absorb_setting: bool  # the YAML keyword ``absorb_for_prefill`` exists
    length_checked: bool  # a prompt as long as the cache is dropped with a warning; before, tensors did not match
    balance_serve: bool
    masks: bool  # a causal mask of prompt x cache is made


@cache
def classic_rules(at: Release) -> ClassicRules:
    """The rules of a classic release, given as numbers."""
    absorbed, chunked = at < (0, 2, 1), at >= (0, 2, 2)
    return ClassicRules(
        prefill=Prefill.ABSORBED if absorbed else Prefill.EXPANDED,
        score_rows=256 if at < (0, 1, 3) else 1000,
        score_rows_settable=at >= (0, 1, 3),
        chunk_setting=None if not chunked else "chunk_prefill_size" if at < (0, 2, 4) else "chunk_size",
        chunk_tokens=0 if not chunked else 8192 if at < (0, 2, 4) else 256,
        chat_chunk_tokens=8192 if chunked else 0,
        cache_tokens=4096 if at < (0, 2) else 8192 if at < (0, 3, 1) else 16384,
        new_tokens=2000 if (0, 2) <= at < (0, 2, 4) else 500,
        response_tokens=300 if at < (0, 2, 4) else None,
        cache_flag=at >= (0, 2),
        page_tokens=1 if absorbed else 64,
        attention_quantised=at >= (0, 1, 3),
        latent_copies=2 if at[:3] == (0, 2, 1) else 1,
        head_quantised=chunked,
        last_logits=chunked,
        absorb_setting=chunked,
        length_checked=chunked,
        balance_serve=at >= (0, 2, 4),
        masks=absorbed,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRules:
    """One release of kt-kernel: flags of its fork that came after 0.4.2."""

    prefill_threshold: bool
    ratio: bool


@cache
def kernel_rules(at: Release) -> KernelRules:
    """The rules of a kt-kernel release, given as numbers."""
    return KernelRules(prefill_threshold=at >= (0, 4, 3), ratio=at >= (0, 5, 1))


# The first release that runs a class of models, by the classes the classic server replaces.
CLASSIC_FAMILIES = {
    "deepseek_v2": version("0.1.0"),
    "qwen2_moe": version("0.1.0"),
    "mixtral": version("0.1.2"),
    "llama": version("0.1.3"),
    "deepseek_v3": version("0.2.0"),
    "kimi_k2": version("0.2.0"),
    "qwen3_moe": version("0.3.0"),
    "llama4": version("0.3.0"),
    "glm4_moe": version("0.3.2"),
    "smallthinker": version("0.3.2"),
    "qwen3_next": version("0.3.2"),
    "hunyuan_v1_moe": version("0.3.1"),
}


CONTEXT = Constant(
    name="ktransformers_cuda_context",
    value=int(0.5 * GiB),
    low=int(0.35 * GiB),
    high=int(0.75 * GiB),
    unit="bytes",
    source=Cited(at="turboderp-org/exllamav2 issue 339: 675 to 708 MiB a GPU beside weights, cache and scratch (torch 2.2, RTX 4090)"),
)
DECODE_GRAPH = Constant(
    name="ktransformers_decode_graph",
    value=int(0.35 * GiB),
    low=int(0.10 * GiB),
    high=int(2.0 * GiB),
    unit="bytes",
    source=Cited(
        at="kvcache-ai/ktransformers issue 101: 5 to 8 GB while generating, of which 4.7 to 5.8 GB are weights, cache and context"
    ),
)
FLASHINFER = Constant(
    name="ktransformers_flashinfer_workspace",
    value=128 * MiB,
    unit="bytes per device",
    source=Cited(at="ktransformers 0.2.2, operators/flashinfer_wrapper.py: a float workspace of 128 MiB"),
)
SERVE_GRAPHS = Constant(
    name="ktransformers_balance_serve_graphs",
    value=int(1.5 * GiB),
    low=int(0.5 * GiB),
    high=int(3.5 * GiB),
    unit="bytes",
    source=Assumed(why="graphs for 1, 2, 3, the largest batch, 64, 256, 512 and the chunk, each with a FlashInfer workspace of 128 MiB"),
)
HOST_PROCESS = Constant(
    name="ktransformers_host_process",
    value=4 * GiB,
    low=2 * GiB,
    high=10 * GiB,
    unit="bytes",
    source=Assumed(
        why="Python, PyTorch, pinned staging and the expert threads' buffers; 382 GB are published for 368 to 376 GiB of experts"
    ),
)
KT_CONTEXT = Constant(
    name="kt_cuda_context",
    value=int(0.5 * GiB),
    low=int(0.35 * GiB),
    high=int(0.9 * GiB),
    unit="bytes",
    source=Measured(record="kvcache-ai/ktransformers issue 1870: 4.02 GB left beside 19.48 GB of budget on a 23.99 GiB card"),
)
KT_NETWORK = Constant(
    name="kt_network_buffers",
    value=int(0.35 * GiB),
    low=int(0.1 * GiB),
    high=int(1.0 * GiB),
    unit="bytes",
    source=Assumed(why="NCCL's buffers of two ranks without NVLink, before the fork looks at the free memory"),
)
KT_GRAPHS = Constant(
    name="kt_decode_graphs",
    value=int(0.5 * GiB),
    low=int(0.1 * GiB),
    high=int(1.2 * GiB),
    unit="bytes",
    source=Assumed(why="graph pools of SGLang's small-card defaults, 8 to 24 sequences"),
)
CONSTANTS = (CONTEXT, DECODE_GRAPH, FLASHINFER, SERVE_GRAPHS, HOST_PROCESS, KT_CONTEXT, KT_NETWORK, KT_GRAPHS)
