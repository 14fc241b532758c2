"""What is kept while a log is read: of each fact the first and the last sightings, and what each engine makes of the lines."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from ullage.domain.cause import FirstAid, Sighting
from ullage.domain.facts import Fact

FIRST, LAST = 6, 4  # sightings kept of one fact: the first ones and the last ones
RANKS = 20  # of so many ranks one sighting each: which of them fails is seen later
RECENT = 64  # lines of which it is remembered what they state: an error comes again and again


@dataclass
class Kept:
    """The sightings of one fact that are kept."""

    first: list[Sighting] = field(default_factory=list)
    last: list[Sighting] = field(default_factory=list)
    count: int = 0

    def add(self, seen: Sighting) -> None:
        """One more; of the middle ones only the number is kept."""
        for kept in (self.first, self.last):
            if kept and kept[-1].line == seen.line:  # the same sentence, read further
                kept[-1] = seen
                return
        self.count += 1
        if len(self.first) < FIRST or (len(self.first) < RANKS and not seen.fact.is_error and self._is_new(seen.rank)):
            self.first.append(seen)
            return
        self.last.append(seen)
        del self.last[:-LAST]

    def _is_new(self, rank: str) -> bool:
        return bool(rank) and all(rank != one.rank for one in self.first)


@dataclass
class Asked:
    """What one engine reads in this log."""

    read: Callable[[str], Fact | None]
    aid: FirstAid
    signs: tuple[re.Pattern[str], ...]
    arguments: tuple[re.Pattern[str], ...]
    advice: tuple[re.Pattern[str], ...]
    kept: dict[str, Kept] = field(default_factory=dict)
    signed: int = 0
    version: str | None = None
    said: dict[str, str] = field(default_factory=dict)
    said_at: int = 0
    advised: dict[int, tuple[int, int, str]] = field(default_factory=dict)


def asked(read: Callable[[str], Fact | None], aid: FirstAid) -> Asked:
    """An engine before the first line."""

    def patterns(texts: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
        return tuple(re.compile(text) for text in texts)

    return Asked(
        read=lru_cache(RECENT)(read),
        aid=aid,
        signs=patterns(aid.signs),
        arguments=patterns(aid.arguments),
        advice=patterns(tuple(advice.pattern for advice in aid.advice)),
    )


_SHARED: Final = frozenset(
    f"error.{name}" for name in ("torch_oom", "host_oom", "process_memory", "memory", "arguments", "device_oom", "xpu_oom")
)


def recognised(engines: Mapping[str, Asked]) -> str | None:
    """The engine with the most of its own words; of none, the one that read the most kinds of facts that only it reads."""
    signed = {name: engine.signed for name, engine in engines.items() if engine.signed}
    behind = {name for one in signed for name in engines[one].aid.stands_before}
    signed = {name: count for name, count in signed.items() if name not in behind} or signed
    if signed:
        return max(signed, key=lambda name: signed[name])
    said = {name: len(set(engine.kept) - _SHARED) for name, engine in engines.items()}
    most = max(said.values(), default=0)
    best = [name for name, count in said.items() if count == most and most]
    forks = {name for name in best if set(engines[name].aid.stands_before) & set(best)}
    return next((name for name in best if name not in forks), best[0] if best else None)
