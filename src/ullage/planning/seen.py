"""What one look at a running engine says of the terms of its plan, added to what earlier looks said.

A promise is of the full cache and of other processes as they were when it was planned. A reading is of what is there: where pages are taken
when tokens come, those that nobody has asked for yet are kept apart as missing, and the others count as promised, so that both can be held
against each other.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from ullage.domain.baseline import Promised
from ullage.domain.facts import Fact
from ullage.domain.ledger import Phase, Purpose
from ullage.domain.machine import HOST
from ullage.frozen import dataclass, replace
from ullage.planning.ranks import HOST_RANK, rank_of
from ullage.planning.tally import Tally

# What engines say of themselves, in their logs and on their pages, and the purpose it is of.
_SAID: Final = {
    "weights_bytes": Purpose.WEIGHTS,
    "seen.weights": Purpose.WEIGHTS,
    "activation_bytes": Purpose.ACTIVATIONS,
    "graph_bytes": Purpose.GRAPHS,
    "kv_bytes": Purpose.KV_CACHE,
    "seen.kv_cache": Purpose.KV_CACHE,
    "state_bytes": Purpose.STATE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One moment: the engine's own bytes on each device in the order of its ranks, None where nobody told; ``facts`` are its metrics."""

    own: tuple[tuple[str, int | None], ...]
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """A run's readings so far, and its counters at the last look."""

    tally: Tally = Tally()
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


def with_look(before: Readings, promised: tuple[Promised, ...], look: Look) -> Readings:
    """With one look more: each whole device in the phase it is in, the engine's own figures, and how it grows with the tokens held."""
    counted = _numbers(look.facts)
    after = replace(before, prompt_tokens=counted.get("prompt_tokens"), answer_tokens=counted.get("generation_tokens"))
    phase, tokens, tally = _phase(before, after, counted), _tokens(counted, counted.get("seen.kv_cache")), before.tally
    for rank, (device, own_bytes) in enumerate(look.own):
        numbers, sums = _numbers(look.facts, device, rank, len(look.own)), _sums(promised, device)
        full = sums.get((Purpose.KV_CACHE, Phase.RESIDENT), 0)
        held = numbers.get("seen.kv_cache", _share(counted, full))
        tally = _with_said(tally, device, {name: value for name, value in numbers.items() if name.startswith("seen.")}, sums)
        if own_bytes is None:
            continue
        whole, missing = own_bytes + sums.get((Purpose.OTHERS, Phase.RESIDENT), 0), max(0, full - held) if held is not None else 0
        tally = tally.plus(device, None, phase, whole, reached=not missing, missing=missing)
        if tokens is not None:
            tally = tally.holding(device, tokens, own_bytes)
    return replace(after, tally=tally)


def with_log(before: Readings, promised: tuple[Promised, ...], devices: tuple[str, ...], facts: Iterable[Fact]) -> Readings:
    """With what the log says was measured at the start, where the pages did not say it better; ``devices`` in the order of the ranks."""
    tally, facts = before.tally, tuple(facts)
    for rank, device in enumerate(devices):
        known = {purpose for (where, purpose, _), _ in tally.terms if where == device}
        said = {name: value for name, value in _numbers(facts, device, rank, len(devices)).items() if _SAID.get(name) not in known}
        tally = _with_said(tally, device, said, _sums(promised, device))
    return replace(before, tally=tally)


def _numbers(facts: Iterable[Fact], device: str = "", rank: int = 0, ranks: int = 1) -> dict[str, int]:
    """The figures of one rank of so many: its own, those of all, and bytes of a log that names no rank for the first."""
    return {fact.name: int(fact.value) for fact in facts if isinstance(fact.value, int | float) and _is_of(fact, device, rank, ranks)}


def _is_of(fact: Fact, device: str, rank: int, ranks: int) -> bool:
    """A page without ranks tells the bytes of all together, which are of no single one."""
    named = rank_of(fact)
    if named == HOST_RANK:
        return device in {"", "cpu", HOST}
    if named is not None or fact.name not in _SAID:
        return named is None or named == rank
    return rank == 0 and (ranks == 1 or not fact.name.startswith("seen."))


def _sums(promised: Iterable[Promised], device: str) -> dict[tuple[Purpose | None, Phase], int]:
    found: dict[tuple[Purpose | None, Phase], int] = {}
    for one in promised:
        if one.device == device:
            found[one.purpose, one.phase] = found.get((one.purpose, one.phase), 0) + one.amount.expected
    return found


def _with_said(tally: Tally, device: str, said: Mapping[str, int], sums: Mapping[tuple[Purpose | None, Phase], int]) -> Tally:
    """The engine's own figures, each under the phase that the plan has it in."""
    for name, purpose in _SAID.items():
        phases = [phase for known, phase in sums if known is purpose]
        if name in said and phases:
            phase = Phase.RESIDENT if Phase.RESIDENT in phases else phases[0]
            tally = tally.plus(device, purpose, phase, said[name], reached=name == "activation_bytes")
    return tally


def _phase(before: Readings, after: Readings, numbers: Mapping[str, int]) -> Phase:
    """Idle is resident; else what was computed since the last look tells, prompts before answers."""
    if before.prompt_tokens is not None and (after.prompt_tokens or 0) > before.prompt_tokens:
        return Phase.PREFILL
    if before.answer_tokens is not None and (after.answer_tokens or 0) > before.answer_tokens:
        return Phase.DECODE
    return Phase.DECODE if numbers.get("requests_running") else Phase.RESIDENT


def _share(numbers: Mapping[str, int], full: int) -> int | None:
    """What a device holds of its whole cache, where the cache of all together is told."""
    held, whole = numbers.get("seen.kv_cache"), numbers.get("kv_bytes")
    return None if held is None else full * held // whole if whole else held


def _tokens(numbers: Mapping[str, int], held: int | None) -> int | None:
    """Tokens that the cache holds, also those kept in case a prompt comes again."""
    nbytes, tokens = numbers.get("kv_bytes"), numbers.get("kv_tokens")
    if held is not None and nbytes and tokens:
        return held * tokens // nbytes
    return numbers.get("kv_used_tokens")
