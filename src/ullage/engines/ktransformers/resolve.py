"""Every default that matters, filled in by release, model and card, so that all other files read a complete case."""

from ullage.domain.architecture import LatentAttention
from ullage.domain.case import Case, Settings, Value
from ullage.domain.workload import Workload
from ullage.engines.ktransformers.kernel_pool import pool
from ullage.engines.ktransformers.kernel_weights import stored_method
from ullage.engines.ktransformers.settings import ALIASES, CLASSIC, KT_KERNEL
from ullage.engines.ktransformers.versions import Product, classic_rules, product
from ullage.frozen import replace
from ullage.units import MiB

LEAST_POOL = 512  # tokens; a pool that holds fewer is of no use
FALLBACK_CONTEXT = 4096  # where neither the question nor the configuration sets a length
BALANCE_SERVE, LOCAL_CHAT = "balance_serve", "local_chat"
# Chunk and captured batch by the card's MiB in the fork's base (SGLang 0.5.6 to 0.5.14); the last number from four ranks on.
_CARDS = ((20 * 1024, 2048, 8, 8), (35 * 1024, 2048, 24, 80), (60 * 1024, 4096, 32, 160), (160 * 1024, 8192, 256, 512))
_LARGE = (16384, 512, 512)
_ROOMY_MIB, _WIDE = 60 * 1024, 4


def resolve(case: Case) -> Case:
    """The same case with every unset setting as this release would set it. Settings of the other product are left out."""
    named = Settings.of({ALIASES.get(name, name): value for name, value in case.settings.items if value is not None})
    case = replace(case, settings=named)
    return _classic(case) if product(case) is Product.CLASSIC else _kernel(case)


def is_latent(case: Case) -> bool:
    """Whether attention runs on latents (MLA)."""
    return any(isinstance(mixer, LatentAttention) for layer in case.model.architecture.layers for mixer in layer.mixers)


def context_of(case: Case) -> int:
    """The sequence asked for, prompt and answer; of a resolved case."""
    return case.workload.context_tokens or FALLBACK_CONTEXT


def prompt_of(case: Case) -> int:
    """The prompt asked for: as said, else all of the sequence but one token."""
    return case.workload.prompt_tokens or max(1, context_of(case) - 1)


def longest(case: Case) -> int:
    """What the model's positions allow."""
    return case.model.architecture.max_context_tokens or FALLBACK_CONTEXT


def _workload(case: Case, length: int) -> Workload:
    work = case.workload
    if work.context_tokens is not None and (work.prompt_tokens is not None or work.context_tokens >= length or "context" in case.stated):
        return work
    return replace(work, context_tokens=max(length, (work.prompt_tokens or 0) + 1))


def _reach(case: Case, wanted: int) -> int:
    """The length of a sequence nobody said: the fork serves a model longer than its pool, and then takes what the pool holds."""
    held = min((pool(case, device).tokens.low for device in case.devices), default=wanted) // case.workload.concurrent_sequences
    return min(wanted, held) if held >= LEAST_POOL else wanted


def _classic(case: Case) -> Case:
    rule, said = classic_rules(case.version.parts), case.settings
    backend = said.text("backend_type") or "ktransformers"
    length = said.integer("cache_lens") or case.workload.context_tokens or min(rule.cache_tokens, longest(case))
    answer = case.workload.context_tokens and case.workload.prompt_tokens and case.workload.context_tokens - case.workload.prompt_tokens
    found: dict[str, Value] = {
        "backend_type": backend,
        "cache_lens": length,
        "max_new_tokens": answer or min(rule.new_tokens, max(1, length // 2)),
        "generate_op": "KLinearMarlin",
        "use_cuda_graph": True,
        "use_numa": False,
    }
    if is_latent(case) or rule.chunk_setting is not None:
        default = rule.chat_chunk_tokens if backend == LOCAL_CHAT else rule.chunk_tokens
        found["chunk_size"] = default or rule.score_rows
    if rule.absorb_setting and is_latent(case):
        found["absorb_for_prefill"] = False
    if rule.response_tokens is not None:
        found["max_response_tokens"] = max(rule.response_tokens, int(str(found["max_new_tokens"])))
    if backend == BALANCE_SERVE:
        found.update(page_size=256, max_batch_size=4)
    kept = {name: value for name, value in said.items if name in CLASSIC}
    settings = Settings.of({**found, **kept})
    # A cache somebody stated is planned full; local_chat makes its own for the sequence.
    full = length if said.has("cache_lens") and backend != LOCAL_CHAT else case.workload.context_tokens or length
    return replace(case, settings=settings, workload=_workload(case, full))


def _card(case: Case) -> tuple[int, int, int]:
    mib = case.devices[0].total_bytes // MiB if case.devices else 0
    return next((tuple(row[1:]) for row in _CARDS if mib < row[0]), _LARGE)  # type: ignore[return-value]


def _kernel(case: Case) -> Case:
    said, (chunk, batch, wide) = case.settings, _card(case)
    wanted = said.integer("context_length") or case.workload.context_tokens or longest(case)
    found: dict[str, Value] = {
        "kt_method": stored_method(case.model),
        "kt_num_gpu_experts": 0,
        "chunked_prefill_size": chunk,
        "context_length": wanted,
        "cuda_graph_max_bs": wide if case.parallel.tensor >= _WIDE else batch,
        "disable_cuda_graph": False,
        "kv_cache_dtype": "auto",
        "page_size": 1,
    }
    kept = {name: value for name, value in said.items if name in KT_KERNEL or name in {"page_size", "gguf_type"}}
    settings = Settings.of({**found, **kept})
    filled = replace(case, settings=settings)
    if not settings.has("mem_fraction_static"):
        filled = filled.with_settings(mem_fraction_static=_fraction(filled))
    reach = filled.workload.context_tokens or _reach(filled, wanted)
    return replace(filled, workload=_workload(filled, reach))


def _fraction(case: Case) -> float:
    """The share of memory when nobody said one: what work and graphs need is left free."""
    mib = case.devices[0].total_bytes / MiB if case.devices else 1.0
    chunk = case.settings.integer("chunked_prefill_size") or 0
    batch = case.settings.integer("cuda_graph_max_bs") or 0
    reserved = 512 + 1.5 * max(chunk, 2048) + 2 * batch + case.parallel.devices / 8 * 1024
    if mib > _ROOMY_MIB:
        reserved = max(reserved, 10 * 1024)
    return round(max(0.0, mib - reserved) / mib, 3)
