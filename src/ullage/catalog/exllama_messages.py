"""Log lines that both ExLlama engines and TabbyAPI print."""

import re
from typing import Final, NamedTuple

from ullage.catalog.torch_messages import FOUND, LONGEST, out_of_memory
from ullage.domain.facts import Fact


class Pattern(NamedTuple):
    """A line's meaning, its text, and the names of its numbers; the first number is the fact's value."""

    name: str
    text: re.Pattern[str]
    numbers: tuple[str, ...]


def pattern(name: str, text: str, *numbers: str) -> Pattern:
    """One row of a table."""
    return Pattern(name, re.compile(text), numbers)


COMMON: Final = (
    pattern("error.job_too_long", r"Job requires (\d{1,9}) pages \(only (\d{1,9}) available\)", "needed_pages", "pages"),
    pattern("kv_tokens", r"cache_size is undefined\. Defaulting to (\d{1,9}) tokens", "tokens"),
    pattern("kv_tokens", r"Using configured cache_size: (\d{1,9}) tokens", "tokens"),
    pattern("max_context_tokens", r"Using (?:default|configured) max_seq_len(?: from model)?: (\d{1,9}) tokens", "tokens"),
    pattern("max_context_tokens", r"max_seq_len is undefined\. Defaulting to (\d{1,9}) tokens", "tokens"),
    pattern("max_context_tokens", r"max_seq_len \(\d{1,9}\) is larger than the cache size and will be limited to (\d{1,9})", "tokens"),
    pattern("kv_tokens", r"Overriding cache_size with an overestimated value of (\d{1,9}) tokens", "tokens"),
    pattern("chunk_tokens", r"Overriding chunk_size with an overestimated value of (\d{1,9}) tokens", "tokens"),
)


def reads(patterns: tuple[Pattern, ...]) -> tuple[re.Pattern[str], ...]:
    """One of these is found in every line that is read with such patterns."""
    return (*FOUND, *(known.text for known in patterns))


def read_line(line: str, patterns: tuple[Pattern, ...]) -> Fact | None:
    """The fact a line states, or None; PyTorch's own words first."""
    text = line[:LONGEST]
    failed = out_of_memory(text)
    if failed is not None:
        return failed
    for known in patterns:
        match = known.text.search(text)
        if match is not None:
            return _fact(known, match)
    return None


def _fact(known: Pattern, match: re.Match[str]) -> Fact:
    numbers = dict(zip(known.numbers, (int(group) for group in match.groups()), strict=False))
    if not numbers:
        return Fact(name=known.name, value=match[0])
    value = next(iter(numbers.values()))
    if known.name.startswith("error."):
        return Fact(name=known.name, value=value, details=tuple(numbers.items()))
    return Fact(name=known.name, value=value, unit="tokens")
