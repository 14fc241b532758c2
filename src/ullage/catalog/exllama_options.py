"""How the ExLlama engines write and read the sizes of several devices, and options in the manner of argparse."""

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal

from ullage.domain.case import Value
from ullage.domain.plan import Finding
from ullage.errors import InputError
from ullage.frozen import dataclass
from ullage.units import parse_count

AUTO, NONE = "auto", "none"  # NONE: no split was given, so the library puts everything on the first device
TRUE, FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})
_MOST_PARTS, _LARGEST = 64, 1_000_000.0


def read_numbers(name: str, value: Value) -> tuple[float, ...]:
    """``10,14.5,23`` (brackets allowed) as numbers. Raises InputError."""
    words = [word.strip() for word in str(value).strip().strip("[]{}()").split(",") if word.strip()]
    try:
        found = tuple(float(word) for word in words)
    except ValueError as error:
        raise InputError(f"{name} is {str(value)[:60]!r}: write one number for each device, as 10,14,23") from error
    if not found or len(found) > _MOST_PARTS or not all(-_LARGEST < number < _LARGEST for number in found):
        raise InputError(f"{name} is {str(value)[:60]!r}: write one number for each device, as 10,14,23")
    return found


def write_numbers(numbers: Sequence[float]) -> str:
    """Numbers as they are written on a command line, none in the form 1e-05."""
    return ",".join(f"{Decimal(repr(float(number))).normalize():f}" for number in numbers)


def split_value(name: str, value: Value) -> Value:
    """A split: ``auto``, ``none`` or a number for each device. Raises InputError."""
    word = str(value).strip().lower()
    return word if word in {AUTO, NONE} else write_numbers(read_numbers(name, value))


def numbers_value(name: str, value: Value) -> Value:
    """One number for each device. Raises InputError."""
    return write_numbers(read_numbers(name, value))


def count_value(name: str, value: Value) -> Value:
    """A whole number from 1 on. Raises InputError."""
    number = parse_count(value) if isinstance(value, str) else value
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise InputError(f"{name} is {str(value)[:60]!r}; a whole number from 1 on is wanted")
    return number


def layers_value(name: str, value: Value) -> Value:
    """A whole number from 0 on. Raises InputError."""
    return 0 if str(value).strip() == "0" else count_value(name, value)


def flag_value(name: str, value: Value) -> Value:
    """True or false. Raises InputError."""
    word = str(value).strip().lower()
    if word not in TRUE | FALSE:
        raise InputError(f"{name} is {str(value)[:60]!r}; true or false is wanted")
    return word in TRUE


def setting_called(name: str, known: Collection[str], aliases: Mapping[str, str], title: str) -> str:
    """The setting of that name or alias. Raises InputError with the nearest right names."""
    plain = name.strip().replace("-", "_")
    if aliases.get(plain, plain) in known:
        return aliases.get(plain, plain)
    near = difflib.get_close_matches(plain, (*known, *aliases), n=3, cutoff=0.5)
    raise InputError(f"{title} has no setting {name[:60]!r} that matters here; the nearest known are {', '.join(near or known)}")


def typed(values: Mapping[str, Value], validate: Callable[[str, Value], Value]) -> tuple[dict[str, Value], list[Finding]]:
    """The values that can be read as settings; the others as findings."""
    settings: dict[str, Value] = {}
    findings: list[Finding] = []
    for name, value in values.items():
        try:
            settings[name] = validate(name, value)
        except InputError as error:
            findings.append(Finding(text=str(error)))
    return settings, findings


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One option: the setting it is ("" where it takes no part in memory), and whether a value, several or none follow."""

    setting: str
    takes: str = "one"  # "one", "many", "none"
    value: Value = True  # of an option that takes none


def scan(words: Sequence[str], flags: Mapping[str, Flag], program: str) -> tuple[dict[str, Value], list[Finding]]:
    """What options say, as ``name=value`` or as words that follow, and what is wrong with them. Never raises."""
    values: dict[str, Value] = {}
    findings: list[Finding] = []
    at = 0
    while at < len(words):
        name, joined, value = words[at].partition("=")
        at += 1
        flag = flags.get(name) or flags.get(name.replace("_", "-"))
        if flag is None:
            findings.append(_unknown(name, flags, program))
            while at < len(words) and not words[at].startswith("-"):
                at += 1
            continue
        said = [value] if joined else []
        limit = {"one": 1, "many": _MOST_PARTS, "none": 0}[flag.takes]
        while not joined and at < len(words) and len(said) < limit and not _is_option(words[at], flags):
            said.append(words[at])
            at += 1
        if flag.takes != "none" and not said:
            findings.append(Finding(text=f"{name} lacks its value"))
        elif flag.setting:
            values[flag.setting] = ",".join(said) if said else flag.value
    return values, findings


def _is_option(word: str, flags: Mapping[str, Flag]) -> bool:
    return word.startswith("--") or word.partition("=")[0] in flags


def _unknown(name: str, flags: Mapping[str, Flag], program: str) -> Finding:
    if not name.startswith("-"):
        return Finding(text=f"{program} takes no bare word, and {name[:60]!r} belongs to no option")
    near = difflib.get_close_matches(name, flags, n=1, cutoff=0.5)
    return Finding(text=f"{program} stops with `error: unrecognized arguments: {name}`" + (f"; did you mean {near[0]}?" if near else ""))
