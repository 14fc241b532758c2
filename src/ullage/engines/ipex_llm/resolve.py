"""Every default that matters to memory, by day, mode, device and model, so that all other files read a complete case."""

from ullage.domain.architecture import Architecture, FullAttention, SlidingAttention
from ullage.domain.case import Case, Settings, Value
from ullage.domain.workload import Workload
from ullage.engines.ipex_llm.settings import API, PLAIN_WORDS, VLLM
from ullage.engines.ipex_llm.versions import build_day, rules
from ullage.frozen import replace

LONGEST_UNSTATED = 2048  # what vLLM takes for a model whose configuration sets no length
SCHEME = "ipex-llm "
# What the library makes of weights that were quantised by others, or that a scheme's usual word asks for.
_TAKEN_AS = (("awq", "asym_int4"), ("gptq", "sym_int4"), ("fp8", "fp8"), ("nf4", "nf4"), ("bitsandbytes", "nf4"))
_FP8_CACHE_HEADS = 4


def mode(case: Case) -> str:
    """``vllm`` or ``api``: as said, else the fork of vLLM on a GPU, and ``generate`` on a CPU and with BigDL-LLM."""
    said = case.settings.text("mode")
    if said is not None:
        return said
    return API if on_cpu(case) or rules(case).bigdl else VLLM


def on_cpu(case: Case) -> bool:
    """Whether the devices are processors."""
    return case.machine.is_processor


def resolve(case: Case) -> Case:
    """The case with every unset setting that matters to memory set as this build would set it."""
    found: dict[str, Value] = {"mode": mode(case), "build_date": build_day(case), "load_in_low_bit": low_bit(case)}
    said = {name: value for name, value in case.settings.items if value is not None}
    if found["mode"] == VLLM:
        return replace(case, settings=Settings.of({**found, **_served(case), **said}))
    workload = _generated(case)
    found["kv_cache_dtype"] = "fp8" if _packs_cache(case, str(found["load_in_low_bit"])) else "auto"
    return replace(case, settings=Settings.of({**found, "dtype": _api_dtype(str(found["load_in_low_bit"])), **said}), workload=workload)


def low_bit(case: Case) -> str:
    """What weights are packed to: as said, else what the model's scheme says, else the mode's default."""
    said, scheme = case.settings.text("load_in_low_bit"), case.model.checkpoint.scheme
    if said is not None:
        return said
    if scheme.startswith(SCHEME):
        return scheme.removeprefix(SCHEME)
    for word, taken in _TAKEN_AS:
        if scheme.startswith(word):
            return taken
    return "sym_int4" if mode(case) == VLLM else ("bf16" if on_cpu(case) else "fp16")


def _served(case: Case) -> dict[str, Value]:
    """The fork's own defaults: those of vLLM's V0 engine without chunked prefill."""
    said = case.settings
    length = said.integer("max_model_len") or case.workload.context_tokens or case.model.architecture.max_context_tokens
    length = length or LONGEST_UNSTATED
    chunked = said.flag("enable_chunked_prefill") or False
    tokens = said.integer("max_num_batched_tokens") or (2048 if chunked else max(length, 2048))
    return {
        "gpu_memory_utilization": 0.9,
        "max_model_len": length,
        "max_num_batched_tokens": tokens,
        "max_num_seqs": min(256, tokens),
        "block_size": 16,
        "kv_cache_dtype": "auto",
        "dtype": "auto",
        "enable_chunked_prefill": chunked,
        "enforce_eager": True,
        "swap_space": 4,
    }


def _generated(case: Case) -> Workload:
    """Prompt and context of ``generate``: the prompt is the context less the answer."""
    asked, answer = case.workload, case.settings.integer("max_new_tokens") or 1
    context = asked.context_tokens or case.settings.integer("max_model_len")
    if context is None:
        longest = case.model.architecture.max_context_tokens or LONGEST_UNSTATED
        context = longest if asked.prompt_tokens is None else asked.prompt_tokens + answer
    prompt = max(1, min(asked.prompt_tokens or context - answer, context))
    return Workload(context_tokens=context, concurrent_sequences=asked.concurrent_sequences, prompt_tokens=prompt)


def _api_dtype(word: str) -> str:
    """Without a ``torch_dtype`` everything beside packed weights becomes float32; unpacked weights are 16 bits."""
    return {"fp16": "float16", "bf16": "bfloat16"}.get(word, "float32")


def _packs_cache(case: Case, word: str) -> bool:
    """Whether keys and values are kept in 8 bits: as the environment says, else for batches on Arc with packed weights."""
    environment = dict(case.environment)
    for name in ("BIGDL_QUANTIZE_KV_CACHE", "IPEX_LLM_QUANTIZE_KV_CACHE", "IPEX_LLM_LOW_MEM"):
        if name in environment:
            return environment[name] == "1"
    if on_cpu(case) or rules(case).bigdl or word in PLAIN_WORDS or case.workload.concurrent_sequences == 1:
        return False
    return fewest_kv_heads(case.model.architecture) >= _FP8_CACHE_HEADS


def fewest_kv_heads(architecture: Architecture) -> int:
    """Key/value heads of the attention layer that has the fewest; 0 where a layer has none."""
    mixers = [mixer for layer in architecture.layers for mixer in layer.mixers]
    return min((mixer.kv_heads if isinstance(mixer, FullAttention | SlidingAttention) else 0 for mixer in mixers), default=0)


def activation_dtype(case: Case) -> str:
    """The dtype of activations and of what is not packed; a float32 model is served in 16 bits."""
    said = case.settings.text("dtype")
    if said not in {None, "auto"}:
        return str(said)
    own = case.model.architecture.dtype
    return "float16" if own == "float32" else own


def is_served(case: Case) -> bool:
    """Whether the resolved case runs the fork of vLLM."""
    return case.settings.text("mode") == VLLM
