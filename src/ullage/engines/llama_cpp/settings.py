"""The settings that matter to memory, in llama-server's own long names with underscores; their types and meanings."""

import difflib
from collections.abc import Callable
from typing import Final, NamedTuple

from ullage.catalog.tensor_formats import GGML_BY_NAME, MODEL_DTYPES
from ullage.domain.case import Value
from ullage.domain.checkpoint import TensorFormat
from ullage.domain.engine import Knob
from ullage.errors import InputError

CACHE_TYPES: Final = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
_PLAIN_TYPES: Final = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
SPLIT_MODES: Final = ("none", "layer", "row", "tensor", "graph")
_YES, _NO = frozenset({"on", "true", "1", "yes", "enabled"}), frozenset({"off", "false", "0", "no", "disabled"})


class Setting(NamedTuple):
    """One setting: how its value is read, what it means, its default in words."""

    read: Callable[[str, Value], Value]
    meaning: str
    default: str


def cache_format(word: str) -> TensorFormat:
    """The format of a cache type."""
    return MODEL_DTYPES[_PLAIN_TYPES[word]] if word in _PLAIN_TYPES else GGML_BY_NAME[word]


def _text(name: str, value: Value) -> Value:
    if value is None or isinstance(value, bool):
        raise InputError(f"{name} is {value!r}; a text is wanted")
    return str(value).strip()


def _whole(value: Value) -> int | None:
    try:
        return int(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
    except ValueError:
        return None


def _at_least(low: int) -> Callable[[str, Value], Value]:
    def read(name: str, value: Value) -> Value:
        number = _whole(value)
        if number is None or number < low:
            raise InputError(f"{name} is {value!r}; a whole number from {low} on is wanted")
        return number

    return read


def _layers(name: str, value: Value) -> Value:
    """A number of layers, ``all``, or ``auto``."""
    if isinstance(value, str) and value.strip().lower() in {"auto", "all"}:
        return value.strip().lower()
    number = _whole(value)
    if number is None:
        raise InputError(f"{name} is {value!r}; a number of layers, auto or all is wanted")
    return number if number >= 0 else "auto" if number == -1 else "all"


def _flag(name: str, value: Value) -> Value:
    word = str(value).strip().lower()
    if word in _YES | _NO:
        return word in _YES
    raise InputError(f"{name} is {value!r}; on or off is wanted")


def _tri(name: str, value: Value) -> Value:
    """on, off or auto."""
    return "auto" if str(value).strip().lower() in {"auto", "-1"} else ("on" if _flag(name, value) else "off")


def _one_of(*words: str) -> Callable[[str, Value], Value]:
    def read(name: str, value: Value) -> Value:
        word = str(value).strip().lower()
        if word not in words:
            near = difflib.get_close_matches(word, words, n=2, cutoff=0.4)
            raise InputError(f"{name} is {value!r}; {' or '.join(near) if near else 'one of ' + ', '.join(words)} is wanted")
        return word

    return read


def _shares(name: str, value: Value) -> Value:
    """``3,1`` or ``3/1``: proportions of the devices."""
    words = str(value).replace("/", ",").strip().strip(",").split(",")
    try:
        numbers = [float(word or 0) for word in words]
    except ValueError:
        numbers = [-1.0]
    if min(numbers) < 0 or any(number != number or number > 1e15 for number in numbers):  # noqa: PLR0124, PLR2004 - not a number; out of bounds
        raise InputError(f"{name} is {value!r}; proportions such as 3,1 are wanted")
    return ",".join(word.strip() for word in words)


_cache_type = _one_of(*CACHE_TYPES)
SETTINGS: Final[dict[str, Setting]] = {
    "ctx_size": Setting(_at_least(0), "tokens of the whole cache, shared by the slots", "the one asked for, else the model's, fitted"),
    "n_parallel": Setting(_at_least(-1), "slots: sequences at once", "4 with one shared cache (1 before b7100)"),
    "kv_unified": Setting(_flag, "one cache for all slots", "true while the slots are not said"),
    "n_gpu_layers": Setting(_layers, "layers on the accelerators, the output counting as one", "all (0 before b7410)"),
    "split_mode": Setting(_one_of(*SPLIT_MODES), "how devices share the model", "layer"),
    "tensor_split": Setting(_shares, "proportions of the devices", "their free memory"),
    "main_gpu": Setting(_at_least(0), "the device of split mode none, and of row splits' cache", "0"),
    "device": Setting(_text, "the devices used, or none", "all"),
    "cache_type": Setting(_cache_type, "format of keys and values", "f16"),
    "cache_type_k": Setting(_cache_type, "format of keys", "f16"),
    "cache_type_v": Setting(_cache_type, "format of values", "f16"),
    "batch_size": Setting(_at_least(1), "tokens submitted at once", "2048"),
    "ubatch_size": Setting(_at_least(1), "tokens of one graph", "512"),
    "flash_attn": Setting(_tri, "flash attention: on, off or auto", "auto (off before b6325)"),
    "swa_full": Setting(_flag, "keep the whole context in sliding-window layers", "false"),
    "kv_offload": Setting(_flag, "keep the cache beside its layers", "true"),
    "op_offload": Setting(_flag, "run large batches of host layers on the device", "true"),
    "override_tensor": Setting(_text, "tensors to other buffers, as REGEX=CPU,...", "none"),
    "cpu_moe": Setting(_flag, "experts of all layers on the host", "false"),
    "n_cpu_moe": Setting(_at_least(0), "experts of the first N layers on the host", "0"),
    "n_cpu_ffn": Setting(_at_least(0), "dense feed-forward of the first N layers on the host", "0"),
    "cache_ram": Setting(_at_least(-1), "MiB of host memory for saved prompts; -1 without limit", "8192 (0 before b6710)"),
    "ctx_checkpoints": Setting(_at_least(0), "saved states of a slot, for windows and recurrent layers", "32"),
    "fit": Setting(_flag, "fit what was not said to the free memory", "true (false before b7410)"),
    "fit_target": Setting(_shares, "MiB to leave free on each device", "1024"),
    "fit_ctx": Setting(_at_least(1), "shortest context that --fit may choose", "4096"),
    "load_mode": Setting(_one_of("auto", "none", "mmap", "mlock", "mmap+mlock", "dio"), "how files are read", "mmap"),
    "repack": Setting(_flag, "rearrange weights for the CPU", "true"),
    "embedding": Setting(_flag, "serve embeddings", "false"),
    "mmproj": Setting(_text, "the file of the vision or audio tower", "none"),
    "spec_draft_n_max": Setting(_at_least(0), "tokens drafted ahead", "0"),
    "mla_attn": Setting(
        _at_least(0), "ik_llama.cpp: 0 keeps full heads, 1 the latent and its transpose, 2 and 3 the latent", "as llama.cpp"
    ),
    "attn_max_batch": Setting(_at_least(0), "ik_llama.cpp: MiB that K*Q may take at once", "no limit"),
    "ollama": Setting(_flag, "the server is started by Ollama", "false"),
    "ollama_gpu_overhead": Setting(_at_least(0), "bytes of each device that Ollama leaves free", "0"),
}
ALIASES: Final = {
    "n_ctx": "ctx_size",
    "num_ctx": "ctx_size",
    "ctx": "ctx_size",
    "np": "n_parallel",
    "parallel": "n_parallel",
    "ngl": "n_gpu_layers",
    "gpu_layers": "n_gpu_layers",
    "num_gpu": "n_gpu_layers",
    "ctk": "cache_type_k",
    "ctv": "cache_type_v",
    "n_batch": "batch_size",
    "n_ubatch": "ubatch_size",
    "fa": "flash_attn",
    "sm": "split_mode",
    "ts": "tensor_split",
    "ot": "override_tensor",
    "ncmoe": "n_cpu_moe",
    "cmoe": "cpu_moe",
    "cram": "cache_ram",
    "kvu": "kv_unified",
    "max_model_len": "ctx_size",
    "mla": "mla_attn",
    "amb": "attn_max_batch",
}
KNOBS = tuple(Knob(name=name, meaning=setting.meaning, default=setting.default) for name, setting in SETTINGS.items())


def validate(name: str, value: Value) -> Value:
    """One setting's value, typed. Raises InputError with the nearest right name, or saying what values there are."""
    plain = name.strip().lstrip("-").replace("-", "_").lower()
    plain = ALIASES.get(plain, plain)
    if plain in SETTINGS:
        return SETTINGS[plain].read(plain, value)
    near = difflib.get_close_matches(plain, (*SETTINGS, *ALIASES), n=3, cutoff=0.5)
    raise InputError(f"llama.cpp has no setting {name[:60]!r} here; " + (f"did you mean {' or '.join(near)}?" if near else "see its knobs"))
