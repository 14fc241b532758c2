"""Which of an engine's ranks a figure is of: as its page says, as its line is tagged, or by the device that it names."""

import re
from collections.abc import Collection
from typing import Final

from ullage.domain.facts import Fact
from ullage.domain.placement import Parallel
from ullage.frozen import replace
from ullage.planning.diagnose_lines import bare

HOST_RANK: Final = -1  # what lies in the host's memory
_DEGREE = re.compile(r"(?<![A-Z])(DP|PP|TP)[ _]?(\d{1,4})")
_RANK = re.compile(r"\brank ?=? ?(\d{1,4})")
_ON_HOST = re.compile(r"cpu|host", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,4}$")


def tagged(fact: Fact, line: str, parallel: Parallel) -> Fact:
    """A figure of a line, with the rank of the worker that wrote it where its tag tells that."""
    if isinstance(fact.value, str) or parallel.devices == 1 or rank_of(fact) is not None:
        return fact
    _, writer = bare(line)
    rank = _number(writer, parallel.tensor, parallel.pipeline)
    return replace(fact, details=(*fact.details, ("rank", str(rank)))) if rank is not None else fact


def writer_of(number: int, writers: Collection[str]) -> str | None:
    """Of the workers that wrote a log the one with that rank, and the most telling tag; its degrees are as wide as their tags show."""
    tags = {writer: _degrees(writer) for writer in writers}
    tensor, pipeline = (1 + max((tag.get(name, 0) for tag in tags.values()), default=0) for name in ("TP", "PP"))
    found = [writer for writer in tags if _number(writer, tensor, pipeline) == number]
    return max(found, key=lambda writer: len(tags[writer]), default=None)


def _number(writer: str, tensor: int, pipeline: int) -> int | None:
    """The rank that a worker's tag tells; None where it tells none."""
    plain, degrees = _RANK.search(writer), _degrees(writer)
    if plain is not None:
        return int(plain[1])
    if not degrees:
        return None
    return (degrees.get("DP", 0) * pipeline + degrees.get("PP", 0)) * tensor + degrees.get("TP", 0)


def _degrees(writer: str) -> dict[str, int]:
    return {name: int(number) for name, number in _DEGREE.findall(writer)}


def rank_of(fact: Fact) -> int | None:
    """The rank that a fact names, or the device of it by its number; None where it names neither."""
    details = dict(fact.details)
    for name in ("rank", "device"):
        if name in details:
            told = str(details[name])
            found = _NUMBER.search(told)
            if _ON_HOST.search(told):
                return HOST_RANK
            if found is not None:
                return int(found[0])
    return None
