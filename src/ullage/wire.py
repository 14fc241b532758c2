"""The one door for JSON: text to values, and frozen values to JSON and back under one versioned schema."""

import json
import math
import re
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

from ullage.domain.hyperparameters import Json
from ullage.errors import MalformedFileError

if TYPE_CHECKING:
    from datetime import datetime

    from cattrs import Converter

SCHEMA = 1
LONGEST_BYTES = 256 << 20
DEEPEST = 64
_TAG = "is"  # names the class of a value that could be one of several
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SCALARS = (bool, int, float, str, type(None))
_SCANNER = json.JSONDecoder()
_LONGEST_WORD = 12  # a half of ``-Infinity`` or of ``\\ud83d`` at the end of a text may be the beginning of a whole

T = TypeVar("T")


def loads(data: bytes | str) -> Json:
    """Read JSON strictly: UTF-8, no repeated keys, bounded depth and size. Raises MalformedFileError.

    ``NaN`` and ``Infinity``, which Python's writers let through, become null, so that no later arithmetic meets them.
    """
    if len(data) > LONGEST_BYTES:
        raise MalformedFileError(f"the JSON text has {len(data)} bytes; at most {LONGEST_BYTES} are read")
    text = _decode(data) if isinstance(data, bytes) else data
    try:
        value = _STRICT.decode(text)
    except json.JSONDecodeError as error:
        raise MalformedFileError(f"not JSON: {error.msg} at offset {error.pos} (line {error.lineno}, column {error.colno})") from error
    except RecursionError as error:
        raise MalformedFileError(f"the JSON text is nested deeper than {DEEPEST} levels") from error
    except ValueError as error:  # a whole number of thousands of digits
        raise MalformedFileError(f"not JSON that can be read: {error}") from error
    if text.count("[") + text.count("{") > DEEPEST:  # with fewer it cannot be deeper
        _check_depth(value)
    if _SURROGATE.search(text):
        _check_unicode(value)
    return cast("Json", value)


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedFileError(f"not UTF-8 text: byte {data[error.start]:#04x} at offset {error.start}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise MalformedFileError(f"the JSON key {key[:80]!r} stands twice in one object")
            seen.add(key)
    return found


def _as_null(word: str) -> None:  # NaN, Infinity or -Infinity: Python writes them, JSON has none
    """What no number is counts as not said."""


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise MalformedFileError(f"the number {digits[:40]} is too large")
    return value


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_as_null, parse_float=_finite)  # once, as each text would make its own


def _check_depth(value: Any) -> None:
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(DEEPEST):
        if not level:
            return
        below = (item for outer in level for item in (outer.values() if isinstance(outer, dict) else outer))
        level = [item for item in below if isinstance(item, dict | list)]
    if level:
        raise MalformedFileError(f"the JSON text is nested deeper than {DEEPEST} levels")


def _check_unicode(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise MalformedFileError("a JSON string holds half of a surrogate pair, which is no character") from error


class CutShortError(MalformedFileError):
    """The text ends before its value does: more of it may complete it."""


def scan(text: str, start: int) -> tuple[Json, int]:
    """The JSON value that begins at ``start`` of a longer text, and where it ends: for files too large to be read whole.

    Raises CutShortError where the text ends inside the value, and MalformedFileError. The last of repeated keys counts here.
    """
    try:
        return cast("tuple[Json, int]", _SCANNER.raw_decode(text, start))
    except json.JSONDecodeError as error:
        kind = CutShortError if error.pos >= len(text) - _LONGEST_WORD or error.msg.startswith("Unterminated") else MalformedFileError
        raise kind(f"not JSON: {error.msg} {error.pos - start} characters into the record") from error
    except RecursionError as error:
        raise MalformedFileError("the record is nested too deeply") from error
    except ValueError as error:
        raise MalformedFileError(f"not JSON that can be read: {error}") from error


def dumps(
    value: Json,
    *,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
    ensure_ascii: bool = False,
) -> str:
    """Write JSON in the order of the keys unless ``sort_keys``. Raises ValueError for NaN and infinity."""
    return json.dumps(value, indent=indent, separators=separators, sort_keys=sort_keys, ensure_ascii=ensure_ascii, allow_nan=False)


def to_wire(value: object) -> dict[str, Json]:
    """A frozen value as JSON, with the schema's version and the value's type."""
    return {"schema": SCHEMA, "type": type(value).__name__, "value": _converter().unstructure(value, type(value))}


def from_wire(kind: type[T], data: Json) -> T:
    """The frozen value of type ``kind`` that ``to_wire`` wrote. Raises MalformedFileError naming the field."""
    if not isinstance(data, dict) or data.get("schema") != SCHEMA or data.get("type") != kind.__name__:
        found = {key: data.get(key) for key in ("schema", "type")} if isinstance(data, dict) else type(data).__name__
        raise MalformedFileError(f"this is {found}; a {kind.__name__} of schema {SCHEMA} is needed")
    from cattrs import transform_error  # noqa: PLC0415 - keeps the start of the program quick
    from cattrs.errors import BaseValidationError  # noqa: PLC0415 - as above

    try:
        return _converter().structure(data.get("value"), kind)
    except (BaseValidationError, ValueError, TypeError, KeyError) as error:
        where = "; ".join(transform_error(error)[:3]) if isinstance(error, BaseValidationError) else str(error)
        raise MalformedFileError(f"this is no {kind.__name__}: {where}") from error


@cache
def _converter() -> "Converter":
    from datetime import datetime  # noqa: PLC0415 - keeps the start of the program quick

    from cattrs import Converter  # noqa: PLC0415 - as above

    converter = Converter(forbid_extra_keys=True, unstruct_collection_overrides={tuple: list, frozenset: sorted})
    converter.register_structure_hook_func(lambda kind: any(kind is scalar for scalar in _SCALARS), _strict_scalar)
    converter.register_structure_hook(datetime, lambda value, _: _moment(value))
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    converter.register_structure_hook_func(_is_plain, _plain)
    converter.register_unstructure_hook_func(_is_plain, lambda value: value)
    converter.register_structure_hook_func(_is_choice, lambda value, kind: _read_choice(converter, value, kind))
    converter.register_unstructure_hook_func(_is_choice, lambda value: _write_choice(converter, value))
    return converter


def _strict_scalar(value: Any, kind: type) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"{value!r} is not of type {kind.__name__}")
    return value


def _moment(value: Any) -> "datetime":
    """A time with its zone, as ``isoformat`` writes it."""
    from datetime import datetime  # noqa: PLC0415 - keeps the start of the program quick

    moment = datetime.fromisoformat(_strict_scalar(value, str))
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} is a time without its zone")
    return moment


def _classes(kind: Any) -> tuple[type, ...]:
    members = get_args(kind) if isinstance(kind, UnionType) else ()
    return tuple(member for member in members if isinstance(member, type) and hasattr(member, "__dataclass_fields__"))


def _is_choice(kind: Any) -> bool:
    """A union of two or more of our nouns: written with the noun's name."""
    return len(_classes(kind)) > 1


def _is_plain(kind: Any) -> bool:
    """JSON itself, or a union of scalars: written as it stands."""
    return kind == Json or (isinstance(kind, UnionType) and all(member in _SCALARS for member in get_args(kind)))


def _plain(value: Any, kind: Any) -> Any:
    if kind != Json and type(value) not in get_args(kind):
        raise ValueError(f"{value!r} is not one of {kind}")
    return value


def _write_choice(converter: "Converter", value: Any) -> Any:
    if not hasattr(value, "__dataclass_fields__"):
        return converter.unstructure(value)
    return {_TAG: type(value).__name__, **converter.unstructure(value, type(value))}


def _read_choice(converter: "Converter", value: Any, kind: Any) -> Any:
    if value is None and type(None) in get_args(kind):
        return None
    name = value.get(_TAG) if isinstance(value, dict) else None
    for member in _classes(kind):
        if member.__name__ == name:
            return converter.structure({key: item for key, item in value.items() if key != _TAG}, member)
    raise ValueError(f"{name!r} is none of {', '.join(member.__name__ for member in _classes(kind))}")
