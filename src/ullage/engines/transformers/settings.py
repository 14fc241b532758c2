"""The settings that matter to memory, in Transformers' own names; their types, and what the unsaid ones become."""

import difflib
from collections.abc import Callable
from typing import Final, NamedTuple

from ullage.domain.case import Case, Settings, Value
from ullage.domain.engine import Knob
from ullage.domain.placement import Parallel
from ullage.domain.workload import Workload
from ullage.engines.transformers.placement import AUTOMATIC, read_max_memory
from ullage.engines.transformers.versions import PAGE_TOKENS, rules
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.units import parse_count

DTYPES = ("auto", "bfloat16", "float16", "float32")
ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
FALLBACK_CONTEXT = 4096  # where neither the question nor the configuration sets a length
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})


class Setting(NamedTuple):
    """One setting: how its value is read, what it means, its default in words."""

    read: Callable[[str, Value], Value]
    meaning: str
    default: str


def _text(name: str, value: Value) -> Value:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; a word is wanted")
    return value if isinstance(value, int) else value.strip()


def _dtype(name: str, value: Value) -> Value:
    word = str(value).removeprefix("torch.").strip()
    word = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32", "float": "float32"}.get(word, word)
    if word not in DTYPES:
        raise InputError(f"{name} is {value!r}; one of {', '.join(DTYPES)} is wanted")
    return word


def _count(name: str, value: Value) -> Value:
    number = parse_count(value) if isinstance(value, str) else value
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise InputError(f"{name} is {value!r}; a whole number from 1 on is wanted")
    return number


def _fraction(name: str, value: Value) -> Value:
    try:
        number = float(value)  # type: ignore[arg-type]  # what cannot be a number is refused below
    except (TypeError, ValueError):
        number = -1.0
    if not 0 < number <= 1 or isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; a number above 0 and up to 1 is wanted")
    return number


def _flag(name: str, value: Value) -> Value:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise InputError(f"{name} is {value!r}; true or false is wanted")
    return word in _TRUE


def _limits(name: str, value: Value) -> Value:
    if not isinstance(value, str):
        raise InputError(f"{name} is {value!r}; write 0=20GiB,1=20GiB,cpu=64GiB")
    read_max_memory(value)
    return value


SETTINGS: Final[dict[str, Setting]] = {
    "device_map": Setting(_text, "where the weights go", "auto"),
    "max_memory": Setting(_limits, "most bytes of weights per device, as 0=20GiB,1=20GiB,cpu=64GiB", "what is free"),
    "dtype": Setting(_dtype, "the dtype weights are loaded and computed in", "the checkpoint's since 5.0, float32 before"),
    "attn_implementation": Setting(_text, "how attention is computed", "sdpa since 4.36, eager before"),
    "cache_implementation": Setting(_text, "how keys and values are kept", "dynamic"),
    "cache_nbits": Setting(_count, "bits of a quantised cache", "4"),
    "cache_backend": Setting(_text, "what quantises the cache: quanto or hqq", "quanto"),
    "cache_q_group_size": Setting(_count, "elements that share a scale in a quantised cache", "64"),
    "cache_residual_length": Setting(_count, "latest tokens a quantised cache keeps whole", "128"),
    "max_cache_len": Setting(_count, "tokens a static cache is made for", "prompt and answer"),
    "max_new_tokens": Setting(_count, "tokens of an answer", "the context less the prompt"),
    "prefill_chunk_size": Setting(_count, "tokens of a prompt that run together", "the whole prompt"),
    "low_cpu_mem_usage": Setting(_flag, "load without a second copy in host memory (before 5.0)", "true with a device_map"),
    "continuous_batching": Setting(_flag, "serve from one pre-allocated paged pool", "false"),
    "page_size": Setting(_count, "tokens of a page of the pool", str(PAGE_TOKENS.value)),
    "num_blocks": Setting(_count, "pages of the pool", "what max_memory_percent leaves"),
    "max_batch_tokens": Setting(_count, "tokens of one step of continuous batching", "8192"),
    "max_memory_percent": Setting(_fraction, "share of the free memory that continuous batching plans with", "0.9"),
    "max_requests_per_batch": Setting(_count, "requests of one step of continuous batching", "1024"),
}
ALIASES: Final = {"torch_dtype": "dtype", "block_size": "page_size", "attention": "attn_implementation"}
KNOBS = tuple(Knob(name=name, meaning=setting.meaning, default=setting.default) for name, setting in SETTINGS.items())


def validate(name: str, value: Value) -> Value:
    """One setting's value, typed. Raises InputError with the nearest right name, or saying what values there are."""
    plain = name.strip().replace("-", "_")
    plain = ALIASES.get(plain, plain)
    if plain not in SETTINGS:
        near = difflib.get_close_matches(plain, (*SETTINGS, *ALIASES), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(SETTINGS)}"
        raise InputError(f"Transformers has no setting {name!r} that matters here; {hint}")
    return SETTINGS[plain].read(plain, value)


def resolve(case: Case) -> Case:
    """The case with every default said: dtype, attention, cache, device map, lengths, and the devices they spread over."""
    named = Settings.of({ALIASES.get(name, name): value for name, value in case.settings.items})
    values: dict[str, Value] = {
        "device_map": "auto",
        "attn_implementation": rules(case).attention,
        "cache_implementation": "dynamic",
        **{name: value for name, value in named.items if value is not None},
    }
    values["dtype"] = _resolved_dtype(case, named)
    return replace(case, settings=Settings.of(values), parallel=_parallel(case, values), workload=_workload(case, named))


def _resolved_dtype(case: Case, settings: Settings) -> str:
    said, own = settings.text("dtype"), case.model.architecture.dtype
    if said is None and not rules(case).dtype_is_auto:
        return "float16" if case.model.is_quantised else "float32"
    return own if said in {None, "auto"} else str(said)


def _parallel(case: Case, values: dict[str, Value]) -> Parallel:
    """A device map that was asked for spreads over every device of the machine, unless a number was said too."""
    asked = case.settings.has("device_map") and values["device_map"] in AUTOMATIC
    if not asked or "parallel" in case.stated or case.parallel.devices > 1:
        return case.parallel
    return Parallel(pipeline=max(1, len(case.machine.devices)))


def _workload(case: Case, settings: Settings) -> Workload:
    asked, answer = case.workload, settings.integer("max_new_tokens")
    longest = case.model.architecture.max_context_tokens or FALLBACK_CONTEXT
    context, prompt = asked.context_tokens, asked.prompt_tokens
    if context is None:
        context = prompt + answer if prompt is not None and answer is not None else max(longest, (prompt or 0) + (answer or 1))
    if prompt is None:
        prompt = context - (answer or 1)
    return replace(asked, context_tokens=context, prompt_tokens=max(1, min(prompt, context)))
