"""The value of a flag: text to a typed value as vLLM's parser reads it, and back to the words of a command line."""

import math
import re
import shlex

from ullage import wire
from ullage.domain.case import Value
from ullage.engines.vllm.flags import FLAGS, flag_called, nearest
from ullage.engines.vllm.flags_choices import choices, since
from ullage.engines.vllm.flags_kinds import Flag, Kind, Release
from ullage.errors import InputError, UllageError

AUTO_LENGTH: Release = (0, 14, 0)  # from here max_model_len takes `auto`, which is -1
_HUMAN = re.compile(r"(\d+(?:\.\d+)?)([kKmMgGtT])")
_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_LONGEST = 60
_MOST_NAMED = 8
_LARGEST = 1 << 62
_ANY: Release = (99,)  # later than every release
_TRUTHS = frozenset({Kind.SWITCH, Kind.PAIR, Kind.YES_NO})
_YES = frozenset({"true", "yes", "1", "on"})
_NO = frozenset({"false", "no", "0", "off"})

# Bounds the engine checks after parsing: lowest value, highest value.
_BOUNDS: dict[str, tuple[float, float]] = {
    "gpu_memory_utilization": (1e-9, 1.0),
    "tensor_parallel_size": (1, 1 << 16),
    "pipeline_parallel_size": (1, 1 << 16),
    "data_parallel_size": (1, 1 << 16),
    "max_num_seqs": (1, _LARGEST),
    "max_num_batched_tokens": (1, _LARGEST),
    "block_size": (1, 1 << 20),
    "cpu_offload_gb": (0, 1 << 20),
    "swap_space": (0, 1 << 20),
    "num_gpu_blocks_override": (1, _LARGEST),
    "kv_cache_memory_bytes": (1, _LARGEST),
}


def shown(text: str) -> str:
    """A word of a command as messages quote it, cut where it is long."""
    return repr(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}...")


def read_value(flag: Flag, text: str, at: Release) -> Value:
    """The typed value of ``text`` in a release. Raises InputError in the words of the engine's parser."""
    kind = flag.kind_in(at)
    value = _typed(flag, kind, text, at)
    _check_word(flag, value, at)
    return value


def _typed(flag: Flag, kind: Kind, text: str, at: Release) -> Value:
    match kind:
        case Kind.INT:
            return _integer(flag, text)
        case Kind.COUNT:
            return _count(flag, text, at)
        case Kind.FLOAT:
            return _number(flag, text)
        case Kind.SWITCH | Kind.PAIR | Kind.YES_NO:
            return _yes_no(flag, text)
        case Kind.JSON:
            return _json(flag, text)
        case Kind.TEXT | Kind.OPTIONAL | Kind.LIST:
            return text


def _refuse(flag: Flag, wanted: str, text: str) -> InputError:
    return InputError(f"argument {flag.option}: invalid {wanted} value: {shown(text)}")


def _integer(flag: Flag, text: str) -> int:
    try:
        value = int(text)
    except ValueError as error:
        raise _refuse(flag, "int", text) from error
    return _bounded(flag, value)


def _bounded(flag: Flag, value: int) -> int:
    if abs(value) > _LARGEST:
        raise _refuse(flag, "int", str(value)[:_LONGEST])
    return value


def _number(flag: Flag, text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise _refuse(flag, "float", text) from error
    if not math.isfinite(value):
        raise _refuse(flag, "float", text)
    return value


def _count(flag: Flag, text: str, at: Release) -> int:
    word = text.strip()
    if flag.setting == "max_model_len" and word.lower() == "auto" and at >= AUTO_LENGTH:
        return -1
    match = _HUMAN.fullmatch(word) if len(word) <= _LONGEST else None
    if match is None:
        return _integer(flag, word)
    number, suffix = match.groups()
    if suffix in _DECIMAL:
        return _bounded(flag, int(float(number) * _DECIMAL[suffix]))
    if "." in number:
        raise InputError(
            f"argument {flag.option}: {word} has a decimal point before the binary suffix {suffix}; write {number}{suffix.lower()} "
            f"(powers of 1000) or a whole number"
        )
    return _bounded(flag, int(number) * _BINARY[suffix])


def _yes_no(flag: Flag, text: str) -> bool:
    word = text.strip().lower()
    if word in _YES | _NO:
        return word in _YES
    raise InputError(f"argument {flag.option}: {shown(text)} is neither true nor false")


def _json(flag: Flag, text: str) -> str:
    """The text itself; an object or list that is not JSON is refused. Other words are older short forms (`image=2`, `3`)."""
    if text.lstrip().startswith(("{", "[")):
        try:
            wire.loads(_HUMAN.sub("0", text))  # `{"bytes": 80m}` is accepted by the engine
        except UllageError as error:
            raise InputError(f"argument {flag.option}: {shown(text)} is {error}") from error
    return text


def _check_word(flag: Flag, value: Value, at: Release | None) -> None:
    allowed = choices(flag.setting, at)
    if allowed and str(value) not in allowed:
        came = since(flag.setting, str(value))
        import difflib  # noqa: PLC0415 - keeps the cold start quick

        near = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.5)
        hint = f"; {value} came with {came}" if came else f"; the nearest is {near[0]}" if near else ""
        names = ", ".join(allowed[:_MOST_NAMED]) + (", …" if len(allowed) > _MOST_NAMED else "")
        raise InputError(f"argument {flag.option}: invalid choice: {shown(str(value))} (choose from {names}){hint}")


def out_of_bounds(setting: str, value: Value) -> str | None:
    """Why the engine refuses a number after parsing it, or None."""
    low, high = _BOUNDS.get(setting, (-math.inf, math.inf))
    if isinstance(value, bool) or not isinstance(value, int | float) or low <= value <= high:
        return None
    if setting == "gpu_memory_utilization":
        return f"gpu_memory_utilization is {value}, but must be more than 0 and at most 1"
    return f"{setting} is {value}, but must be {'at least' if value < low else 'at most'} {int(low if value < low else high)}"


def write_value(flag: Flag, value: Value, at: Release) -> tuple[str, ...]:
    """The words of a command line that set a flag to a value in a release; none where the flag cannot say it."""
    kind = flag.kind_in(at)
    match value:
        case None:
            return ()
        case False if kind is Kind.YES_NO:
            return (flag.option, "False")
        case bool():
            return (flag.option,) if value else (f"--no-{flag.name}",) if kind is Kind.PAIR else ()
        case str() if kind is Kind.LIST:
            return _words(flag, value)
        case str() if value.startswith("-") or value == "":
            return (f"{flag.option}={value}",)
    return (flag.option, str(value))


def _words(flag: Flag, value: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(value))
    except ValueError:
        words = (value,)
    return (flag.option, *words) if words else ()


def validate(name: str, value: Value) -> Value:
    """One ``--set NAME=VALUE``, typed by the table. Raises InputError with the nearest right name."""
    flag = flag_called(name)
    if flag is None:
        near = " or ".join(word.replace("-", "_") for word in nearest(name)) or "a flag that `ullage engines vllm` lists"
        raise InputError(f"vLLM has no setting called {shown(name)}; the nearest is {near}")
    newest = flag.last or max(other.first for other in FLAGS)
    typed = read_value(flag, value, newest) if isinstance(value, str) else _retyped(flag, value)
    problem = out_of_bounds(flag.setting, typed)
    if problem:
        raise InputError(problem)
    return typed


def _retyped(flag: Flag, value: Value) -> Value:
    """A value that has a type already must be of the flag's kind; a whole float counts as a whole number."""
    if value is None or (isinstance(value, bool) and flag.kind in _TRUTHS):
        return value
    if isinstance(value, float) and value.is_integer() and flag.kind is not Kind.FLOAT:
        value = int(value)
    return read_value(flag, str(value), _ANY)
