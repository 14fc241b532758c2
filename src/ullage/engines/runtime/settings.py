"""The settings of ``python -m ullage.runtime MODEL``: what each takes, means and is unless said. Every flag is ``--name VALUE``."""

import difflib
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from ullage.domain.case import Value
from ullage.domain.engine import Knob
from ullage.errors import InputError
from ullage.units import parse_bytes, parse_count

DTYPES = ("auto", "bfloat16", "float32", "float16")
WEIGHT_FORMS = ("native", "int8", "int4", "fp8")
CACHE_FORMS = ("native", "fp8", "int8", "int4")
AUTO = "auto"
NATIVE = "native"
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})
_DIGITS = 5  # of a number of layers
_DEVICE = re.compile(r"(cpu|cuda)(:\d{1,4})?")
_SHORT_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32", "float": "float32"}


class Setting(NamedTuple):
    """One setting: how its value is read, what it means, its default in words, and whether memory follows from it."""

    read: Callable[[str, Value], Value]
    meaning: str
    default: str
    takes_memory: bool = True


def _text(name: str, value: Value) -> Value:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{name} is {value!r}; a word is wanted")
    return value.strip()


def _word(words: tuple[str, ...], spelt: dict[str, str] | None = None) -> Callable[[str, Value], Value]:
    def read(name: str, value: Value) -> Value:
        word = str(value).strip().lower().removeprefix("torch.")
        word = (spelt or {}).get(word, word)
        if word not in words:
            raise InputError(f"{name} is {value!r}; one of {', '.join(words)} is wanted")
        return word

    return read


def _count(name: str, value: Value) -> Value:
    number = parse_count(value) if isinstance(value, str) else value
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise InputError(f"{name} is {value!r}; a whole number from 1 on is wanted")
    return number


def _chunk(name: str, value: Value) -> Value:
    return AUTO if isinstance(value, str) and value.strip().lower() == AUTO else _count(name, value)


def _bytes(name: str, value: Value) -> Value:
    size = parse_bytes(value) if isinstance(value, str) else value
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InputError(f"{name} is {value!r}; a size is wanted, such as 8GiB")
    return size


def _flag(name: str, value: Value) -> Value:
    word = str(value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise InputError(f"{name} is {value!r}; on or off is wanted")
    return word in _TRUE


def _devices(name: str, value: Value) -> Value:
    words = [word.strip().lower() for word in str(value).split(",")]
    if not all(_DEVICE.fullmatch(word) for word in words) or len({word.partition(":")[0] for word in words}) > 1:
        raise InputError(f"{name} is {value!r}; write cpu, cuda, cuda:1, or several of a kind: cuda:0,cuda:1")
    return ",".join(words)


def split_of(value: str) -> tuple[int, ...]:
    """``12,18``: how many layers lie on each device. Raises InputError."""
    words = [word.strip() for word in value.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) <= _DIGITS for word in words) or not any(map(int, words)):
        raise InputError(f"split is {value!r}; write how many layers lie on each device: 12,18")
    return tuple(map(int, words))


def _split(_name: str, value: Value) -> Value:
    return ",".join(map(str, split_of(str(value))))


def cache_forms(value: str) -> tuple[str, str]:
    """What keys and what values are kept in: ``int8`` is both, ``k=int8,v=int4`` tells them apart. Raises InputError."""
    said: dict[str, str] = {}
    for word in value.lower().split(","):
        which, sign, form = word.strip().partition("=")
        for side in (which.strip(),) if sign else ("k", "v"):
            said[side] = (form if sign else which).strip()
    if not said.keys() <= {"k", "v"} or not set(said.values()) <= set(CACHE_FORMS):
        raise InputError(f"kv_dtype is {value!r}; one of {', '.join(CACHE_FORMS)} is wanted, or k=int8,v=int4")
    return said.get("k", NATIVE), said.get("v", NATIVE)


def _kv_dtype(_name: str, value: Value) -> Value:
    keys, values = cache_forms(str(value))
    return keys if keys == values else f"k={keys},v={values}"


def dual_chunk(value: str) -> tuple[int, int]:
    """``8192,1024``: the chunk and the local tokens of dual chunk attention. Raises InputError."""
    chunk, sign, local = value.partition(",")
    found = (parse_count(chunk), parse_count(local)) if sign else (0, 0)
    if not 0 < found[1] < found[0]:
        raise InputError(f"dual_chunk is {value!r}; write the tokens of a chunk and of its local part: 8192,1024")
    return found


def _dual_chunk(_name: str, value: Value) -> Value:
    chunk, local = dual_chunk(str(value))
    return f"{chunk},{local}"


SETTINGS: Final[dict[str, Setting]] = {
    "device": Setting(_devices, "what computes: cpu, cuda, cuda:1, or several of a kind", "cuda where there is one, else cpu"),
    "split": Setting(_split, "layers on each of several devices, in their order: 12,18", "so that the fullest device has the most left"),
    "host_experts": Setting(
        _count, "experts lie on the host, and so many of them at a time on each device", "they lie where they are used"
    ),
    "dtype": Setting(_word(DTYPES, _SHORT_DTYPES), "what is computed in", "auto: the model's own; bfloat16 for float16 on a processor"),
    "weights": Setting(_word(WEIGHT_FORMS), "what the matrices are kept in", "native: as stored where a kernel reads that, else the dtype"),
    "kv_dtype": Setting(_kv_dtype, "what keys and values are kept in: int8, or k=int8,v=int4", "native: the dtype"),
    "memory": Setting(_bytes, "bytes the process may take on each device", "nine tenths of what is there"),
    "cache": Setting(_bytes, "bytes the cache may grow to", "what the rest of memory leaves"),
    "max_len": Setting(_count, "tokens of the longest sequence", "the model's own length"),
    "max_seqs": Setting(_count, "sequences that run at once", "16"),
    "chunk": Setting(_chunk, "tokens that one step computes at most", "auto: by the memory that is left"),
    "page_tokens": Setting(_count, "tokens of a page of the cache", "256"),
    "prefix_cache": Setting(_flag, "keep pages of answered prompts while there is room", "on"),
    "swap": Setting(_bytes, "bytes of host memory that pages of waiting sequences may go to", "0"),
    "dual_chunk": Setting(_dual_chunk, "dual chunk attention for a model without it: chunk and local tokens", "the model's own"),
    "host": Setting(_text, "where the server listens", "127.0.0.1", takes_memory=False),
    "port": Setting(_count, "where the server listens", "8000", takes_memory=False),
    "served_model_name": Setting(_text, "what requests call the model", "the name of its file or folder", takes_memory=False),
    "api_key_file": Setting(_text, "a file whose first line every request has to show", "none is asked for", takes_memory=False),
}
KNOBS = tuple(
    Knob(name=name, meaning=setting.meaning, default=setting.default) for name, setting in SETTINGS.items() if setting.takes_memory
)


def flag_of(name: str) -> str:
    """How a setting is written on the command line: ``max_len`` is ``--max-len``."""
    return f"--{name.replace('_', '-')}"


def validate(name: str, value: Value) -> Value:
    """One setting's value, typed. Raises InputError with the nearest right name, or saying what values there are."""
    plain = name.strip().lstrip("-").replace("-", "_")
    if plain not in SETTINGS:
        near = difflib.get_close_matches(plain, SETTINGS, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(SETTINGS)}"
        raise InputError(f"the runtime has no setting {name!r}; {hint}")
    return SETTINGS[plain].read(plain, value)
