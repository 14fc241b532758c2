"""Every default that matters to memory, filled in by version, device and model, so that all other files read a complete case."""

from ullage.domain.architecture import CompressedAttention, FullAttention, LatentAttention, Recurrent
from ullage.domain.case import Case, Settings, Value
from ullage.engines.sglang.fraction import (
    Work,
    captured_batch,
    card_mib,
    default_fraction,
    is_latent,
    size_of,
    tower_factor,
)
from ullage.engines.sglang.versions import DUAL_CHUNK_BACKEND, DUAL_CHUNK_FIRST, DUAL_CHUNK_LAST, Rules, Tower, rules_for
from ullage.frozen import replace

UNKNOWN_LENGTH = 2048  # what SGLang takes for a model whose configuration sets no length
MAX_PREFILL_TOKENS = 16384
SPECULATIVE_REQUESTS = 48
COMPRESSED_REQUESTS = 256  # DeepSeek V4 and its kin
EAGLE_STEPS, EAGLE_TOPK, EAGLE_DRAFTS = 5, 4, 8
CHAIN_STEPS, CHAIN_TOPK, CHAIN_DRAFTS = 3, 1, 4


def capability(case: Case) -> tuple[int, int] | None:
    """Compute capability of the first device, None when it is not known."""
    return case.machine.devices[0].compute_capability if case.machine.devices else None


def rules(case: Case) -> Rules:
    """The rules of this case's release."""
    return rules_for(case.version.parts)


def activation_dtype(case: Case) -> str:
    """The dtype of activations and unquantised weights: as said, else the model's own, a float32 model being run in 16 bits."""
    said = case.settings.text("dtype")
    if said in {None, "auto"}:
        own = case.model.architecture.dtype
        return "float16" if own == "float32" else own
    return {"half": "float16", "float": "float32"}.get(str(said), str(said))


def attention_data(case: Case) -> int:
    """Ranks of data-parallel attention inside one tensor-parallel group; 1 without."""
    if not case.settings.flag("enable_dp_attention"):
        return 1
    said = case.settings.integer("dp_size")
    ranks = case.parallel.tensor if said is None and case.version.parts < (0, 4, 4) else said or 1
    return ranks if ranks >= 1 and case.parallel.tensor % ranks == 0 else 1


def attention_tensor(case: Case) -> int:
    """How many ranks share the heads of one attention."""
    return max(1, case.parallel.tensor // attention_data(case))


def has_dual_chunk(case: Case) -> bool:
    """Whether this release has the backend and the model asks for it."""
    in_range = DUAL_CHUNK_FIRST <= case.version <= DUAL_CHUNK_LAST
    return in_range and case.model.architecture.dual_chunk is not None


def uses_dual_chunk(case: Case) -> bool:
    """Whether the case runs with dual chunk attention."""
    return has_dual_chunk(case) and case.settings.text("attention_backend") in {None, DUAL_CHUNK_BACKEND}


def resolve(case: Case) -> Case:
    """The same case with every unset setting that matters to memory set as this release would set it."""
    case = _inner_data(case)
    said = {name: value for name, value in case.settings.items if value is not None}
    return replace(case, settings=Settings.of({**defaults(case), **said}))


def _inner_data(case: Case) -> Case:
    """Data-parallel attention lies inside the tensor-parallel ranks, so its degree takes no devices of its own."""
    data = case.parallel.data
    if not case.settings.flag("enable_dp_attention") or data == 1 or case.settings.integer("dp_size") not in {None, data}:
        return case
    return replace(case, parallel=replace(case.parallel, data=1), settings=case.settings.with_(dp_size=data))


def defaults(case: Case) -> dict[str, Value]:
    """The settings this release takes where nobody said anything, given what was said."""
    said, at = case.settings, case.version.parts
    mib = min((card_mib(device) for device in case.devices), default=0.0)
    tensor = case.parallel.tensor
    algorithm = said.text("speculative_algorithm")
    chunk = said.integer("chunked_prefill_size")
    chunk = _chunk(case, mib) if chunk is None else chunk
    batch = said.integer("cuda_graph_max_bs")
    requests = said.integer("max_running_requests")
    if batch is None:
        batch = captured_batch(at, mib, tensor)
        batch = min(batch, requests) if requests is not None and at >= (0, 5, 20) else batch
    graphs = not (said.flag("disable_cuda_graph") or (has_dual_chunk(case) and at < (0, 5, 4)))
    found: dict[str, Value] = {
        "attention_backend": _backend(case),
        "chunked_prefill_size": chunk // attention_data(case) if chunk > 0 and not said.has("chunked_prefill_size") else chunk,
        "context_length": _length(case),
        "cuda_graph_max_bs": batch,
        "disable_cuda_graph": not graphs,
        "disable_radix_cache": has_dual_chunk(case),
        "dtype": "auto",
        "kv_cache_dtype": _cache_dtype(case),
        "max_prefill_tokens": MAX_PREFILL_TOKENS,
        "mem_fraction_static": _fraction(case, mib, chunk, batch, graphs=graphs),
        "page_size": _page(case),
        "pp_size": case.parallel.pipeline,
        "tp_size": tensor,
    }
    if any(isinstance(mixer, Recurrent) for layer in case.model.architecture.layers for mixer in layer.mixers):
        found["mamba_full_memory_ratio"] = 0.9
    if rules(case).window_pool:
        found["swa_full_tokens_ratio"] = 0.1 if _is_compressed(case) else 0.8
    if _is_compressed(case):
        found["max_running_requests"] = COMPRESSED_REQUESTS
    return found | _speculation(case, algorithm)


def _chunk(case: Case, mib: float) -> int:
    if case.version.parts < (0, 4, 3) and case.model.architecture.encoder_tokens:
        return -1
    return size_of(case.version.parts, mib).chunk


def _length(case: Case) -> int:
    return case.workload.context_tokens or case.model.architecture.max_context_tokens or UNKNOWN_LENGTH


def _fraction(case: Case, mib: float, chunk: int, batch: int, *, graphs: bool) -> float:
    """The default, lowered for a vision model; unknown memory has a fraction of its own."""
    at, said, rule = case.version.parts, case.settings, rules(case)
    if not case.devices or mib <= 0:
        return rule.unknown_percent / 100
    algorithm = said.text("speculative_algorithm")
    plain = algorithm is None and not said.flag("enable_dp_attention") and case.parallel.pipeline == 1
    off = said.flag("disable_prefill_cuda_graph") or said.flag("disable_piecewise_cuda_graph") or not graphs
    work = Work(
        mib=mib,
        ranks=case.parallel.tensor * case.parallel.pipeline,
        tensor=case.parallel.tensor,
        chunk=chunk if chunk > 0 else said.integer("max_prefill_tokens") or MAX_PREFILL_TOKENS,
        batch=batch,
        data_attention=attention_data(case) if said.flag("enable_dp_attention") else 0,
        algorithm=algorithm,
        graphs=graphs,
        prompt_graphs=rule.prefill_graphs and not off and (plain or at >= (0, 5, 14)),
        latent=is_latent(case.model.architecture),
        deepep=said.text("moe_a2a_backend") == "deepep",
    )
    factor = 1.0 if rule.tower is Tower.ALWAYS else tower_factor(case, stated=False)  # ALWAYS lowers it later, whoever set it
    return round(default_fraction(at, work) * factor, 6)


def _cache_dtype(case: Case) -> str:
    indexed = any(
        mixer.indexer is not None
        for layer in case.model.architecture.layers
        for mixer in layer.mixers
        if isinstance(mixer, LatentAttention)
    )
    able = capability(case)
    return "fp8_e4m3" if indexed and able is not None and able >= (10, 0) else "auto"


def _is_compressed(case: Case) -> bool:
    return any(isinstance(mixer, CompressedAttention) for layer in case.model.architecture.layers for mixer in layer.mixers)


def _backend(case: Case) -> str:
    """The attention kernels of this release on this card."""
    at, able = case.version.parts, capability(case) or (0, 0)
    latent = is_latent(case.model.architecture)
    if has_dual_chunk(case):
        return DUAL_CHUNK_BACKEND
    if case.devices and case.devices[0].kind == "rocm":
        return "aiter" if at >= (0, 4, 6) else "triton"
    if able[0] == 9 and at >= (0, 4, 6):  # noqa: PLR2004 - Hopper
        return "fa3"
    if able[0] == 10 and at >= (0, 5, 4):  # noqa: PLR2004 - Blackwell for data centres
        return "flashinfer" if latent else "trtllm_mha"
    return "triton" if latent else "flashinfer"


def _page(case: Case) -> int:
    """Tokens of a page: 1, unless the kernels want more."""
    if _is_compressed(case):
        return 256
    mixers = [mixer for layer in case.model.architecture.layers for mixer in layer.mixers]
    if any(isinstance(mixer, LatentAttention | FullAttention) and mixer.indexer is not None for mixer in mixers):
        return 64
    by_backend = {"trtllm_mha": 64, "trtllm_mla": 64, "flashmla": 64, "cutlass_mla": 128}
    return by_backend.get(case.settings.text("attention_backend") or _backend(case), 1)


def _speculation(case: Case, algorithm: str | None) -> dict[str, Value]:
    """Steps, branches and drafts as the release chooses them: a chain for models with draft layers of their own, a tree for others."""
    if algorithm in {None, "NGRAM"}:
        return {} if algorithm is None else {"max_running_requests": SPECULATIVE_REQUESTS}
    chain = is_latent(case.model.architecture) or case.model.architecture.is_mixture or algorithm == "STANDALONE"
    steps, topk, drafts = (CHAIN_STEPS, CHAIN_TOPK, CHAIN_DRAFTS) if chain else (EAGLE_STEPS, EAGLE_TOPK, EAGLE_DRAFTS)
    return {
        "max_running_requests": SPECULATIVE_REQUESTS,
        "speculative_num_steps": steps,
        "speculative_eagle_topk": topk,
        "speculative_num_draft_tokens": drafts,
    }
