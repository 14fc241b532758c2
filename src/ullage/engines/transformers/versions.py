"""What differs between releases of Transformers, as data.

Read from the packages 4.30.2, 4.36.2, 4.38.2, 4.42.4, 4.44.2, 4.45.2,
4.46.0, 4.48.3, 4.49.0, 4.50.0, 4.51.3, 4.53.3, 4.56.2, 5.0.0, 5.6.0, 5.12.0, 5.17.0, 5.20.0 and 5.23.0; a change between two of them is
given the later number.
"""

from functools import cache

from ullage.domain.case import Case, Version
from ullage.domain.provenance import Assumed, Cited, Constant, Measured
from ullage.frozen import dataclass
from ullage.units import GiB, MiB


@cache
def version(text: str) -> Version:
    """``4.51.3`` as a version."""
    return Version.of(text)


OLDEST, NEWEST, DEFAULT = version("4.30.0"), version("5.23.0"), version("5.23.0")

_CACHES = (
    (version("4.38.0"), ("static",)),
    (version("4.42.0"), ("static", "quantized", "sliding_window")),
    (version("4.44.0"), ("static", "quantized", "sliding_window", "hybrid", "offloaded")),
    (version("4.45.0"), ("static", "quantized", "sliding_window", "hybrid", "offloaded", "offloaded_static")),
    (version("4.56.0"), ("static", "quantized", "sliding_window", "hybrid", "offloaded", "offloaded_static", "dynamic")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One release's behaviour."""

    attention: str  # what an unsaid ``attn_implementation`` becomes
    dtype_is_auto: bool  # an unsaid dtype is the checkpoint's; before, float32
    old_cache_kept: bool  # tuples: the whole old cache lives beside the new one while a token is made
    windows_cut: bool  # a dynamic cache keeps only the window of sliding layers, after the first decoding step
    latent_cache: bool  # latent attention keeps the latent; before, keys and values of every head
    native_groups: bool  # sdpa reads grouped heads without repeating them, where there is no mask
    flash_repeats: bool  # some families repeat grouped heads before flash attention
    warmup: bool  # one allocation of all weights per device before loading
    largest_leaf: bool  # the balance adds 1.25 of the largest leaf or block; before, of the mean leaf
    grouped_experts: bool  # all routed rows in one product; before, one expert after another
    float_logits: bool  # where all positions' logits are computed, they are also cast to float32
    low_cpu_setting: bool  # ``low_cpu_mem_usage`` exists
    caches: tuple[str, ...]
    batch_tokens: int  # continuous batching's tokens per step, 0 where it does not exist
    pool_flags: bool  # the server has ``--cb-*`` and takes its model as a bare word; before, by ``--force-model``


def rules(case: Case) -> Rules:
    """The rules of the case's release."""
    return rules_of(case.version)


@cache
def rules_of(at: Version) -> Rules:
    """The rules of a release."""
    return Rules(
        attention="sdpa" if at >= version("4.36.0") else "eager",
        dtype_is_auto=at >= version("5.0.0"),
        old_cache_kept=at < version("4.42.0"),
        windows_cut=at >= version("4.56.0"),
        latent_cache=at >= version("5.17.0"),
        native_groups=at >= version("4.53.0"),
        flash_repeats=at < version("4.48.0"),
        warmup=at >= version("4.50.0"),
        largest_leaf=at >= version("5.0.0"),
        grouped_experts=at >= version("5.0.0"),
        float_logits=at < version("5.0.0"),
        low_cpu_setting=at < version("5.0.0"),
        caches=_caches(at),
        batch_tokens=_batch_tokens(at),
        pool_flags=at >= version("5.5.0"),
    )


def _caches(at: Version) -> tuple[str, ...]:
    known = [names for since, names in _CACHES if since <= at]
    return tuple(dict.fromkeys(("dynamic", *(known[-1] if known else ()))))


def _batch_tokens(at: Version) -> int:
    if at < version("5.0.0"):
        return 0
    if at < version("5.12.0"):
        return 256
    return 1024 if at < version("5.17.0") else 8192


# The first release in which a family computes only the last position's logits in ``generate``; families not named here have
# done so since they came or since 4.45.
_LAST_LOGITS = {
    "jamba": "4.42.0",
    **dict.fromkeys(("glm", "phimoe", "zamba", "idefics3", "moshi"), "4.46.0"),
    **dict.fromkeys(("falcon", "granite"), "4.48.0"),
    **dict.fromkeys(("gpt_neox",), "4.50.0"),
    **dict.fromkeys(("gpt2", "granitemoe"), "4.53.0"),
    **dict.fromkeys(("qwen2_5_vl",), "4.56.0"),
    **dict.fromkeys(
        ("qwen2_vl", "bloom", "codegen", "falcon_mamba", "gpt_bigcode", "gpt_neo", "gptj", "mamba", "mamba2", "mpt", "opt"), "5.0.0"
    ),
    **dict.fromkeys(("recurrent_gemma", "rwkv"), "5.0.0"),
}


def last_logits_only(model_type: str, at: Version) -> bool:
    """Whether ``generate`` computes the logits of the last position only (``num_logits_to_keep``, later ``logits_to_keep``)."""
    return at >= version(_LAST_LOGITS.get(model_type, "4.45.0"))


# The release up to which every layer keeps cos and sin tables of its own as long as the model.
_TABLES_UNTIL = {
    "llama": "4.38.0",
    "mistral": "4.42.0",
    **dict.fromkeys(("falcon", "gpt_neox", "persimmon", "phi", "qwen2", "qwen2_moe", "stablelm", "starcoder2"), "4.45.0"),
    "mixtral": "4.48.0",
}


def keeps_rotary_tables(model_type: str, at: Version) -> bool:
    """Whether each layer registers its own cos and sin tables."""
    return model_type in _TABLES_UNTIL and at < version(_TABLES_UNTIL[model_type])


_FLASH_REPEATS = frozenset({"mistral", "mixtral", "phi3", "phimoe", "qwen2", "qwen2_moe", "qwen2_vl", "starcoder2"})


def repeats_heads(case: Case) -> bool:
    """Whether attention works on keys and values repeated for every query head."""
    match case.settings.text("attn_implementation"):
        case "flash_attention_2":
            return rules(case).flash_repeats and case.model.architecture.model_type in _FLASH_REPEATS
        case "sdpa":
            return not rules(case).native_groups
        case _:
            return case.settings.text("attn_implementation") == "eager"


_AT = "transformers 5.23.0, src/transformers/generation/continuous_batching/cache.py"

CONTEXT = Constant(
    name="transformers_cuda_context",
    value=600 * MiB,
    unit="bytes",
    low=290 * MiB,
    high=768 * MiB,
    source=Measured(record="three RTX 4090 of turboderp-org/exllamav2#339: 675 to 708 MiB; an RTX 3090 of lm-sys/FastChat#2005: 300 MiB"),
)
HOST_PROCESS = Constant(
    name="transformers_host_process",
    value=2 * GiB + GiB // 2,
    unit="bytes",
    low=GiB,
    high=5 * GiB,
    source=Assumed(why="Python, PyTorch and the CUDA libraries of one process; nobody has stored an observation yet"),
)
CPU_PROCESS = Constant(
    name="transformers_cpu_process",
    value=340 * MiB,
    unit="bytes",
    low=220 * MiB,
    high=900 * MiB,
    source=Measured(
        record="PyTorch 2.13 for processors with transformers 5.23: 240 MiB after importing, 100 MiB more after generating, 655 MiB mapped"
    ),
)
WARMUP_MARGIN = Constant(
    name="transformers_warmup_margin",
    value=6 * GiB // 5,
    unit="bytes",
    source=Cited(at="transformers 5.23.0, src/transformers/modeling_utils.py, caching_allocator_warmup"),
)
PAGE_TOKENS = Constant(name="transformers_cb_page", value=256, unit="tokens", source=Cited(at=_AT))
BATCH_ROWS = Constant(
    name="transformers_cb_requests",
    value=1024,
    unit="requests",
    source=Cited(at="transformers 5.23.0, src/transformers/generation/continuous_batching/initialization.py, FALLBACK_DEFAULTS"),
)
SAMPLER_COPIES = Constant(
    name="transformers_sampler_copies",
    value=6,
    unit="float32 rows of the vocabulary",
    low=2,
    high=10,
    source=Cited(at="transformers 5.23.0, src/transformers/generation/logits_process.py: sort, its indices, softmax, sum, masks"),
)
GPTQ_UNPACK = Constant(
    name="gptq_unpack_bytes",
    value=6,
    unit="bytes per weight",
    low=4,
    high=8,
    source=Measured(record="official_tables T0066 to T0110: GPTQ-Int8 less BF16 growth of Qwen2.5 14B, 32B and 72B"),
)
CONSTANTS = (CONTEXT, HOST_PROCESS, CPU_PROCESS, WARMUP_MARGIN, PAGE_TOKENS, BATCH_ROWS, SAMPLER_COPIES, GPTQ_UNPACK)
