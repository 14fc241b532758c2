"""What one look at a running engine says of the terms of its plan, added to what earlier looks said.

A promise is of the full cache and of other processes as they were when it was planned. A reading is of what is there: where pages are taken
when tokens come, those that nobody has asked for yet count as promised, and so do the others, so that both speak of the same.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from ullage.domain.baseline import Promised
from ullage.domain.facts import Fact
from ullage.domain.ledger import Phase, Purpose
from ullage.frozen import dataclass, replace
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
    """One moment: ``own_bytes`` are the engine's on a device, None where nobody told; ``facts`` are its metrics."""

    device: str
    own_bytes: int | None
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """A run's readings so far, and its counters at the last look."""

    tally: Tally = Tally()
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


def with_look(before: Readings, promised: Iterable[Promised], look: Look) -> Readings:
    """With one look more: the whole device in the phase it is in, the engine's own figures, and how it grows with the tokens held."""
    numbers, sums = _numbers(look.facts), _sums(promised, look.device)
    held = numbers.get("seen.kv_cache")
    full = sums.get((Purpose.KV_CACHE, Phase.RESIDENT), 0)
    tally = _with_said(before.tally, look.device, {name: value for name, value in numbers.items() if name.startswith("seen.")}, sums)
    after = replace(before, prompt_tokens=numbers.get("prompt_tokens"), answer_tokens=numbers.get("generation_tokens"))
    if look.own_bytes is not None:
        others = sums.get((Purpose.OTHERS, Phase.RESIDENT), 0)
        whole = look.own_bytes + others + (max(0, full - held) if held is not None else 0)
        reached = held is None or held >= full
        tally = tally.plus(look.device, None, _phase(before, after, numbers), whole, reached=reached)
        tokens = _tokens(numbers, held)
        if tokens is not None:
            tally = tally.holding(look.device, tokens, look.own_bytes)
    return replace(after, tally=tally)


def with_log(before: Readings, promised: Iterable[Promised], device: str, facts: Iterable[Fact]) -> Readings:
    """With what the log says was measured at the start, where the pages did not say it better."""
    known = {purpose for (_, purpose, _), _ in before.tally.terms}
    said = {name: value for name, value in _numbers(facts).items() if _SAID.get(name) not in known}
    return replace(before, tally=_with_said(before.tally, device, said, _sums(promised, device)))


def _numbers(facts: Iterable[Fact]) -> dict[str, int]:
    return {fact.name: int(fact.value) for fact in facts if isinstance(fact.value, int | float)}


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


def _tokens(numbers: Mapping[str, int], held: int | None) -> int | None:
    """Tokens that the cache holds, also those kept in case a prompt comes again."""
    nbytes, tokens = numbers.get("kv_bytes"), numbers.get("kv_tokens")
    if held is not None and nbytes and tokens:
        return held * tokens // nbytes
    return numbers.get("kv_used_tokens")
