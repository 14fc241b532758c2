"""What a flag of vLLM's server is: its name, the kind of its value, and the releases that have it."""

from enum import StrEnum

from ullage.frozen import dataclass

Release = tuple[int, ...]
SERVE_SINCE: Release = (0, 5, 2)  # `vllm serve`; before, the module
SERVER_MODULE = "vllm.entrypoints.openai.api_server"


class Kind(StrEnum):
    """How a flag takes its value."""

    INT = "int"
    COUNT = "count"  # a whole number that may end in k, m, g (powers of 1000) or K, M, G (powers of 1024)
    FLOAT = "float"
    TEXT = "text"
    SWITCH = "switch"  # takes no value
    PAIR = "pair"  # takes no value; `--no-NAME` is its opposite
    YES_NO = "yes_no"  # true or false may follow
    OPTIONAL = "optional"  # a text may follow
    LIST = "list"  # one or more words
    JSON = "json"  # a JSON object, or its keys as `--NAME.key value`


INT, COUNT, FLOAT, TEXT, SWITCH = Kind.INT, Kind.COUNT, Kind.FLOAT, Kind.TEXT, Kind.SWITCH
PAIR, YES_NO, OPTIONAL, LIST, JSON = Kind.PAIR, Kind.YES_NO, Kind.OPTIONAL, Kind.LIST, Kind.JSON


def release(text: str) -> Release:
    """``0.10.2`` as numbers."""
    return tuple(int(part) for part in text.split("."))


@dataclass(frozen=True, slots=True)
class Alias:
    """A second spelling, with the releases that have it where they differ from the flag's own."""

    text: str
    first: str = ""
    last: str = ""

    def is_in(self, at: Release) -> bool:
        """Whether this spelling exists in a release."""
        return (not self.first or at >= release(self.first)) and (not self.last or at <= release(self.last))


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag. ``first`` and ``last`` are the releases that have it; ``was`` holds older kinds and the last release of each."""

    name: str
    kind: Kind
    first: Release
    last: Release | None
    aliases: tuple[Alias, ...]
    was: tuple[tuple[Kind, Release], ...]
    instead: str  # what to do where it is gone

    @property
    def setting(self) -> str:
        """The engine's own name of what it sets."""
        return self.name.replace("-", "_")

    @property
    def option(self) -> str:
        """As it is written on a command line."""
        return f"--{self.name}"

    def is_in(self, at: Release) -> bool:
        """Whether a release has it."""
        return self.first <= at and (self.last is None or at <= self.last)

    def kind_in(self, at: Release) -> Kind:
        """The kind of its value in a release."""
        return next((kind for kind, last in self.was if at <= last), self.kind)


def row(
    name: str,
    kind: Kind,
    first: str,
    last: str | None = None,
    *,
    also: tuple[str | Alias, ...] = (),
    was: tuple[tuple[Kind, str], ...] = (),
    instead: str = "",
) -> Flag:
    """One line of a flag table."""
    return Flag(
        name=name,
        kind=kind,
        first=release(first),
        last=release(last) if last else None,
        aliases=tuple(alias if isinstance(alias, Alias) else Alias(alias) for alias in also),
        was=tuple((old, release(until)) for old, until in was),
        instead=instead,
    )
