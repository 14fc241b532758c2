"""The key that an engine asks for is found where its command says."""

from dataclasses import dataclass, field
from typing import Any, cast

from ullage.commands.serving import Serving, key_of
from ullage.domain.engine import Server
from ullage.ports import World


@dataclass
class Told:
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


@dataclass
class Named:
    name: str = "runtime"


@dataclass
class Kept:
    profile: Named = field(default_factory=Named)


@dataclass
class Asked:
    command: Told
    server: Server
    engine: Kept = field(default_factory=Kept)


class Desk:
    def read(self, path: str) -> bytes:
        assert path == "keys.txt"
        return b"first\nsecond\n"


@dataclass
class Outside:
    desk: Desk = field(default_factory=Desk)


def key(*argv: str, **server: Any) -> str | None:
    return key_of(cast("Serving", Asked(Told(argv), Server(port=1, **server))), cast("World", Outside()))


def test_a_key_stands_in_the_command() -> None:
    assert key("vllm", "serve", "--api-key", "abc") == "abc"


def test_a_key_stands_in_the_first_line_of_a_file_where_the_flag_names_one() -> None:
    assert key("x", "--api-key-file", "keys.txt", key_flag="--api-key-file", key_is_a_file=True) == "first"
