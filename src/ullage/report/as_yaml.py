"""Values as YAML, in the block style that people read; every text that could be read as something else is quoted as JSON is."""

import re
from collections.abc import Iterator

from ullage import wire
from ullage.domain.hyperparameters import Json

_PLAIN = re.compile(r"[A-Za-z_./][\w./-]*(?: [\w./-]+)*")
_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n", "~", "nan", "inf", ".nan", ".inf"})


def yaml_text(value: Json, *, head: str = "") -> str:
    """One document; ``head`` is a comment above it."""
    comment = "".join(f"# {line}\n" for line in head.splitlines())
    return comment + "\n".join(_lines(value, 0)) + "\n"


def _lines(value: Json, depth: int) -> Iterator[str]:
    space = "  " * depth
    match value:
        case dict() if value:
            for key, item in value.items():
                yield from _entry(f"{space}{_scalar(key)}:", item, depth)
        case list() if value:
            for item in value:
                if isinstance(item, dict) and item:
                    first, *rest = _lines(item, depth + 1)
                    yield f"{space}- {first.strip()}"
                    yield from rest
                else:
                    yield from _entry(f"{space}-", item, depth)
        case _:
            yield f"{space}{_scalar(value)}"


def _entry(name: str, item: Json, depth: int) -> Iterator[str]:
    match item:
        case dict() | list() if item:
            yield name
            yield from _lines(item, depth + 1)
        case str() if "\n" in item:
            keep = "" if item.endswith("\n") else "-"
            yield f"{name} |{keep}"
            yield from ("  " * (depth + 1) + line if line else "" for line in item.rstrip("\n").split("\n"))
        case _:
            yield f"{name} {_scalar(item)}"


def _scalar(value: Json) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return wire.dumps(value)
