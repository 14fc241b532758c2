"""Which engine is planned and started when none is named."""

from dataclasses import dataclass
from typing import cast

import pytest

from ullage.commands.question import EMBEDDED, find_engine
from ullage.commands.verb import Flags
from ullage.ports import World


@dataclass
class Hardware:
    cards: tuple[str, ...]

    def devices(self) -> tuple[str, ...]:
        return self.cards


@dataclass
class Outside:
    hardware: Hardware


@pytest.mark.parametrize(
    ("given", "cards", "name"),
    [
        ({}, (), EMBEDDED),
        ({}, ("gpu0",), "vllm"),
        ({"engine": "llama_cpp"}, (), "llama_cpp"),
        ({"gpu": "RTX 4090"}, (), "vllm"),
        ({"gpu": "cpu"}, ("gpu0",), EMBEDDED),
        ({"gpu": "local"}, (), EMBEDDED),
    ],
)
def test_our_runtime_serves_where_no_accelerator_answers_and_nothing_was_named(
    given: dict[str, str], cards: tuple[str, ...], name: str
) -> None:
    flags = Flags({"engine": None, "gpu": None, **given})
    assert find_engine(flags, cast("World", Outside(Hardware(cards)))).profile.name == name
