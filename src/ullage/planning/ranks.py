"""Which of an engine's ranks a figure is of: as its page says, as its line is tagged, or by the device that it names."""

import re
from typing import Final

from ullage.domain.facts import Fact
from ullage.domain.placement import Parallel
from ullage.frozen import replace
from ullage.planning.diagnose_lines import bare

HOST_RANK: Final = -1  # what lies in the host's memory
_DEGREE = re.compile(r"(?<![A-Z])(DP|PP|TP)(\d{1,4})")
_RANK = re.compile(r"\brank ?=? ?(\d{1,4})")
_ON_HOST = re.compile(r"cpu|host", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,4}$")


def tagged(fact: Fact, line: str, parallel: Parallel) -> Fact:
    """A figure of a line, with the rank of the worker that wrote it where its tag tells that."""
    if isinstance(fact.value, str) or parallel.devices == 1 or rank_of(fact) is not None:
        return fact
    _, writer = bare(line)
    plain, degrees = _RANK.search(writer), {name: int(number) for name, number in _DEGREE.findall(writer)}
    if plain is None and not degrees:
        return fact
    inner = degrees.get("DP", 0) * parallel.pipeline + degrees.get("PP", 0)
    rank = int(plain[1]) if plain is not None else inner * parallel.tensor + degrees.get("TP", 0)
    return replace(fact, details=(*fact.details, ("rank", str(rank))))


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
