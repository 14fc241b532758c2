"""The settings that matter to memory, in the engine's own names, with their types; old names are read as today's."""

import difflib
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from ullage.domain.case import Value
from ullage.domain.engine import Knob
from ullage.errors import InputError
from ullage.units import parse_count

GENERATE_OPS = ("KLinearMarlin", "KLinearFP8", "KLinearTorch")
BACKENDS = ("ktransformers", "balance_serve", "local_chat")
KT_METHODS = ("AMXINT4", "AMXINT8", "LLAMAFILE", "RAWINT4", "FP8", "BF16")
STRATEGIES = ("frequency", "front-loading", "uniform", "random")
GGUF_TYPES = ("q2_k", "q3_k", "q4_0", "q4_k", "q4_k_m", "q5_k", "q5_k_m", "q6_k", "q8_0", "f16", "bf16")


_LAYER = re.compile(r"[0-9]{1,4}")


class Setting(NamedTuple):
    """One setting: how a value is read, what it means, its default in words."""

    read: Callable[[str, Value], Value]
    meaning: str
    default: str


def _number(value: Value) -> int | None:
    if isinstance(value, str):
        return parse_count(value.lstrip("-")) * (-1 if value.startswith("-") else 1)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _at_least(least: int) -> Callable[[str, Value], Value]:
    def read(name: str, value: Value) -> Value:
        number = _number(value)
        if number is None or number < least:
            raise InputError(f"{name} is {value!r}; a whole number from {least} on is wanted")
        return number

    return read


def _share(name: str, value: Value) -> Value:
    try:
        number = float(value) if isinstance(value, str | int | float) else -1.0
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1 or isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; a number from 0 to 1 is wanted")
    return number


def _one_of(words: tuple[str, ...]) -> Callable[[str, Value], Value]:
    def read(name: str, value: Value) -> Value:
        found = next((word for word in words if word.lower() == str(value).strip().lower()), None)
        if found is None:
            near = difflib.get_close_matches(str(value), words, n=1, cutoff=0.4)
            raise InputError(f"{name} is {value!r}; {f'did you mean {near[0]}? ' if near else ''}known are {', '.join(words)}")
        return found

    return read


def _flag(name: str, value: Value) -> Value:
    word = str(value).strip().lower()
    if word not in {"true", "false", "1", "0"}:
        raise InputError(f"{name} is {value!r}; true or false is wanted")
    return word in {"true", "1"}


def _word(name: str, value: Value) -> Value:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{name} is {value!r}; a word is wanted")
    return value.strip()


def _layers(name: str, value: Value) -> Value:
    """``30`` or ``15,30,45``: the first layer of the second device and of those after it."""
    parts = [part.strip() for part in str(value).split(",")]
    firsts = [int(part) for part in parts if _LAYER.fullmatch(part)]
    if len(firsts) != len(parts) or firsts != sorted(set(firsts)) or firsts[0] < 1:
        raise InputError(f"{name} is {value!r}; write the first layer of each device after the first, growing: 15,30,45")
    return ",".join(str(first) for first in firsts)


_count, _whole = _at_least(1), _at_least(0)
CLASSIC: Final[dict[str, Setting]] = {
    "cache_lens": Setting(_count, "tokens the static cache is made for, prompt and answer", "4096; 8192 from 0.2.0, 16384 from 0.3.1"),
    "max_new_tokens": Setting(_count, "tokens of an answer", "500; 0.2.0 to 0.2.3: 2000"),
    "max_response_tokens": Setting(_count, "tokens of a response (to 0.2.3)", "300"),
    "chunk_size": Setting(
        _count,
        "prompt tokens of one piece: the YAML keyword chunck_size of attention (0.1.3 to 0.2.1), --chunk_prefill_size (0.2.2, 0.2.3)",
        "256 to 0.1.2, 1000 to 0.2.0, 8192 to 0.2.3, then 256",
    ),
    "max_batch_size": Setting(_count, "sequences at once, with balance_serve", "4"),
    "backend_type": Setting(_one_of(BACKENDS), "which server, or local_chat", "ktransformers"),
    "transfer_map": Setting(_layers, "first layer of each device after the first (YAML)", "even"),
    "generate_op": Setting(_one_of(GENERATE_OPS), "what the linears outside the routed experts become (YAML)", "KLinearMarlin: 4 bits"),
    "absorb_for_prefill": Setting(_flag, "prompts run on the latent itself, slower but without unpacking (YAML, from 0.2.2)", "false"),
    "gguf_type": Setting(_one_of(GGUF_TYPES), "type of the experts in the GGUF file", "the model's own, else q4_k_m"),
    "cpu_infer": Setting(_count, "threads of the experts", "10"),
    "page_size": Setting(_count, "tokens of a page, with balance_serve and kt-kernel", "256; kt-kernel: 1"),
    "use_cuda_graph": Setting(_flag, "tokens are made by CUDA graphs", "true"),
    "use_numa": Setting(_flag, "a copy of the experts for each of two sockets (build option USE_NUMA)", "false"),
}
KT_KERNEL: Final[dict[str, Setting]] = {
    "kt_method": Setting(_one_of(KT_METHODS), "format of the experts on the host", "LLAMAFILE for GGUF, RAWINT4, FP8 or BF16 as stored"),
    "kt_weight_path": Setting(_word, "where the experts' host weights lie", "the model"),
    "kt_cpuinfer": Setting(_count, "threads of the experts", "unset"),
    "kt_threadpool_count": Setting(_count, "thread pools, one for each NUMA node", "2"),
    "kt_num_gpu_experts": Setting(_whole, "routed experts of each layer on the GPU", "0"),
    "kt_gpu_experts_ratio": Setting(_share, "the same as a share of all experts; overrides the number", "unset"),
    "kt_max_deferred_experts_per_token": Setting(_whole, "experts whose result may come a layer late", "unset"),
    "kt_gpu_prefill_token_threshold": Setting(_count, "prompts above it bring one whole layer's experts to the GPU", "unset"),
    "kt_expert_placement_strategy": Setting(_one_of(STRATEGIES), "which experts lie on the GPU", "uniform"),
    "kt_enable_dynamic_expert_update": Setting(_flag, "change them while running", "false"),
    "mem_fraction_static": Setting(_share, "share of the free memory for weights and cache", "by the card, chunk and graphs"),
    "max_total_tokens": Setting(_count, "tokens of the cache", "what the share leaves"),
    "max_running_requests": Setting(_count, "sequences at once; a table row of the context's length each", "2048 and more"),
    "chunked_prefill_size": Setting(
        _at_least(-1), "prompt tokens of one step; -1 runs a prompt whole", "2048, on larger cards up to 16384"
    ),
    "context_length": Setting(_count, "longest sequence", "the model's"),
    "cuda_graph_max_bs": Setting(_count, "largest batch of a CUDA graph", "8 below 20 GiB, then 24 and more"),
    "disable_cuda_graph": Setting(_flag, "no CUDA graphs", "false"),
    "kv_cache_dtype": Setting(_one_of(("auto", "bfloat16", "fp8_e4m3", "fp8_e5m2")), "format of the cache", "auto: the model's dtype"),
}
SETTINGS: Final = {**CLASSIC, **KT_KERNEL}
ALIASES: Final = {
    "chunk_prefill_size": "chunk_size",
    "chunck_size": "chunk_size",
    "max_chunk_size": "chunk_size",
    "model_cache_lens": "cache_lens",
    "type": "backend_type",
    "max_model_len": "context_length",
    "kt_gpu_prefill_threshold": "kt_gpu_prefill_token_threshold",
}
KNOBS = tuple(Knob(name=name, meaning=setting.meaning, default=setting.default) for name, setting in SETTINGS.items())


def nearest(name: str) -> tuple[str, ...]:
    """The known names most like a wrong one."""
    return tuple(difflib.get_close_matches(name, (*SETTINGS, *ALIASES), n=3, cutoff=0.6))


def validate(name: str, value: Value) -> Value:
    """One setting's value, typed. Raises InputError with the nearest right name, or saying what values there are."""
    plain = name.strip().lstrip("-").replace("-", "_")
    plain = ALIASES.get(plain, plain)
    if plain not in SETTINGS:
        near = nearest(plain)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(SETTINGS)}"
        raise InputError(f"KTransformers has no setting {name!r} that matters here; {hint}")
    return SETTINGS[plain].read(plain, value)
