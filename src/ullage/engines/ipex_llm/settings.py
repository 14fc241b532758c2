"""The settings that matter to memory: their types, what they mean, and their defaults in words."""

import difflib
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from ullage.catalog.ipex_blocks import BLOCKS, K_BLOCKS, SPELLINGS
from ullage.domain.case import Value
from ullage.domain.engine import Knob
from ullage.errors import InputError
from ullage.units import parse_count

API, VLLM = "api", "vllm"
PLAIN_WORDS: Final = ("fp16", "bf16")  # nothing is packed
LOW_BITS: Final = (*(word for word in BLOCKS if word not in SPELLINGS.values()), *SPELLINGS, *K_BLOCKS, *PLAIN_WORDS)
_DTYPES: Final = {
    "auto": "auto",
    **dict.fromkeys(("float16", "half", "fp16"), "float16"),
    **dict.fromkeys(("bfloat16", "bf16"), "bfloat16"),
    **dict.fromkeys(("float32", "float", "fp32"), "float32"),
}
_SWITCH: Final = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
_DAY = re.compile(r"(20\d\d)-?([01]\d)-?([0-3]\d)")
Read = Callable[[str, Value], Value]


def _chosen(words: dict[str, str]) -> Read:
    def read(name: str, value: Value) -> Value:
        word = words.get(str(value).removeprefix("torch.").strip().lower())
        if word is None:
            near = difflib.get_close_matches(str(value), words, n=4, cutoff=0.5) or list(words)[:12]
            raise InputError(f"{name}={str(value)[:40]} is not known: {', '.join(near)} are")
        return word

    return read


def _words(*words: str) -> Read:
    return _chosen({word: word for word in words})


def _count(name: str, value: Value) -> Value:
    found = parse_count(value) if isinstance(value, str) else value
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise InputError(f"{name}={value} should be a whole number, 1 or more")
    return found


def _number(most: float) -> Read:
    def read(name: str, value: Value) -> Value:
        try:
            found = float(str(value))
        except ValueError as error:
            raise InputError(f"{name}={str(value)[:40]} should be a number from 0 to {most:g}") from error
        if not 0 <= found <= most:
            raise InputError(f"{name}={found:g} is outside 0 to {most:g}")
        return found

    return read


def _switch(name: str, value: Value) -> Value:
    found = _SWITCH.get(str(value).strip().lower())
    if found is None:
        raise InputError(f"{name}={str(value)[:40]} should be true or false")
    return found


def _day(name: str, value: Value) -> Value:
    match = _DAY.fullmatch(str(value).strip())
    if match is None:
        raise InputError(f"{name}={str(value)[:40]} should be a day: 2024-09-14")
    return "-".join(match.groups())


class Setting(NamedTuple):
    """One setting: how its value is read, what it means, its default in words."""

    read: Read
    meaning: str
    default: str


SETTINGS: Final = {
    "mode": Setting(_words(API, VLLM), "api: generate() of the Transformers-style API; vllm: the fork of vLLM", "vllm; api on a CPU"),
    "build_date": Setting(
        _day,
        "day of the build, which decides its rules: before 2024-09-20 the fork does not count the activation peak. A nightly version says "
        "it itself (2.1.0b20240914 or 2.1.0.20240914); 2.4.0 and 2.5.0 are BigDL-LLM, before ipex-llm began at 2.1.0",
        "the release's: 2.4.0 2023-11-13, 2.5.0 2024-03-22, 2.1.0 2024-08-22, 2.2.0 2025-04-07, 2.3.0 2025-06-30",
    ),
    "load_in_low_bit": Setting(
        _words(*LOW_BITS), "what weights are packed to while loading", "the model's; vllm: sym_int4; api: nothing is packed"
    ),
    "dtype": Setting(_chosen(_DTYPES), "dtype of what is not packed, and of activations", "vllm: auto; api: float32 beside packed weights"),
    "gpu_memory_utilization": Setting(_number(1), "vllm: share of the device's total that the fork may fill", "0.9"),
    "max_model_len": Setting(_count, "longest sequence, prompt and answer", "what the model's configuration allows"),
    "max_num_batched_tokens": Setting(_count, "vllm: tokens of one step; sets the activation peak", "the larger of max_model_len and 2048"),
    "max_num_seqs": Setting(_count, "vllm: sequences at once", "256"),
    "block_size": Setting(_count, "vllm: tokens of one cache block", "16"),
    "kv_cache_dtype": Setting(
        _words("auto", "fp8", "fp8_e5m2", "fp8_e4m3"), "format of keys and values", "auto; api: fp8 for a batch on Arc (2.1.0 on)"
    ),
    "enable_chunked_prefill": Setting(_switch, "vllm: cut long prompts into steps (forks from 0.6.2 on)", "false"),
    "enforce_eager": Setting(_switch, "vllm: no graphs, which XPU has not got anyway", "true"),
    "swap_space": Setting(_number(4096), "vllm: pinned host memory for swapped blocks, GiB per device", "4"),
    "num_gpu_blocks_override": Setting(_count, "vllm: blocks of the cache, whatever the profile finds", "unset"),
    "max_new_tokens": Setting(_count, "api: tokens of the answer", "the context less the prompt"),
    "cpu_embedding": Setting(_switch, "api: keep the token table on the host", "false"),
    "embedding_qtype": Setting(_words(*LOW_BITS), "api: pack the token table too", "unset"),
    "mixed_precision": Setting(_switch, "api: the head as q6_k beside 4-bit layers", "false"),
}
KNOBS = tuple(Knob(name=name, meaning=known.meaning, default=known.default) for name, known in SETTINGS.items())
_ALIASES: Final = {"torch_dtype": "dtype", "low_bit": "load_in_low_bit", "max_num_seq": "max_num_seqs", "n_predict": "max_new_tokens"}


def validate(name: str, value: Value) -> Value:
    """One setting's value, typed. Raises InputError with the nearest right name."""
    word = name.strip().lstrip("-").replace("-", "_")
    if word not in SETTINGS:
        near = [_ALIASES[word]] if word in _ALIASES else difflib.get_close_matches(word, SETTINGS, n=2, cutoff=0.6)
        raise InputError(
            f"IPEX-LLM has no setting {name[:40]!r}: {'the nearest is' if near else 'there are'} {', '.join(near or SETTINGS)}"
        )
    return SETTINGS[word].read(word, value)
