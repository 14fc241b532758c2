"""What can be changed, what it relieves and what it costs; and the cards a model can be spread over."""

from collections.abc import Iterator

from ullage.catalog.exllama_options import AUTO
from ullage.domain.case import Case, Value
from ullage.domain.placement import Parallel
from ullage.domain.plan import Lever, Limit
from ullage.engines.exllamav2.place import balanced_split
from ullage.engines.exllamav2.settings import rules
from ullage.engines.exllamav2.versions import DEFAULT, rules_for
from ullage.formulas.exllama import PAGE_TOKENS

CACHE, WORKSPACE, WEIGHTS, START = Limit.CACHE, Limit.WORKSPACE, Limit.WEIGHTS, Limit.START
_ROOM = frozenset({CACHE, WORKSPACE, WEIGHTS, START})
_SHORTEST = 512


def layouts(case: Case) -> tuple[Parallel, ...]:
    """Whole layers on every card, then on fewer; all cards on each layer only where that was asked."""
    there = max(1, len(case.machine.devices))
    if case.settings.flag("tensor_parallel"):
        return tuple(Parallel(tensor=count) for count in range(there, 0, -1))
    return tuple(Parallel(pipeline=count) for count in range(there, 0, -1))


def levers(case: Case) -> tuple[Lever, ...]:
    """Every lever of this release for this case, in the order to try."""
    return (*_split(case), *_release(case), *_chunk(case), *_cache(case), *_length(case), *_cards(case))


def _split(case: Case) -> Iterator[Lever]:
    if len(case.devices) < 2 or case.settings.flag("tensor_parallel"):  # noqa: PLR2004 - one card has nothing to share
        return
    now, wanted = case.settings.text("gpu_split"), balanced_split(case)
    values = tuple(value for value in (wanted, AUTO) if value != now)
    if values:
        yield Lever(setting="gpu_split", values=values, relieves=_ROOM, cost="none: the layers lie on other cards", cost_rank=0)


def _release(case: Case) -> Iterator[Lever]:
    """The head's scratch shrank: one matrix is unpacked in parts, and its output is no longer kept beside it."""
    if rules(case).head_forward and not rules_for(DEFAULT.parts).head_forward:
        yield Lever(
            setting="engine_version",
            values=(str(DEFAULT),),
            relieves=_ROOM,
            cost="a newer release, whose scratch for the head is smaller",
            cost_rank=0,
        )


def _chunk(case: Case) -> Iterator[Lever]:
    now = case.settings.integer("chunk_size") or 0
    smaller: tuple[Value, ...] = tuple(value for value in (1024, 512, 256) if value < now)
    if smaller:
        yield Lever(setting="chunk_size", values=smaller, relieves=_ROOM, cost="slower prompts", cost_rank=1, searched=smaller[:1])


def _cache(case: Case) -> Iterator[Lever]:
    order = [mode for mode in ("FP16", "Q8", "Q6", "Q4") if mode in rules(case).cache_modes]
    now = case.settings.text("cache_mode") or "FP16"
    smaller: tuple[Value, ...] = tuple(order[order.index(now) + 1 :]) if now in order else ()
    if smaller:
        yield Lever(
            setting="cache_mode", values=smaller, relieves=_ROOM, cost="a quantised cache: some quality on long contexts", cost_rank=3
        )


def _shorter(tokens: int) -> tuple[Value, ...]:
    """Eighths of a length, in whole pages, then halves of the last."""
    eighths = [tokens * part // 8 // PAGE_TOKENS * PAGE_TOKENS for part in range(7, 0, -1)]
    return tuple(sorted({length for length in (*eighths, tokens // 16, tokens // 32) if _SHORTEST <= length < tokens}, reverse=True))


def _length(case: Case) -> Iterator[Lever]:
    now = case.settings.integer("max_seq_len") or 0
    if not _shorter(now):
        return
    name = "context" if "max_seq_len" not in case.stated else "max_seq_len"
    yield Lever(
        setting=name,
        values=_shorter(now),
        relieves=_ROOM,
        cost="shorter sequences",
        cost_rank=2,
        also=(("cache_size", None),) if "cache_size" in case.stated else (),
    )


def _cards(case: Case) -> Iterator[Lever]:
    more: tuple[Value, ...] = tuple(range(case.parallel.pipeline + 1, len(case.machine.devices) + 1))
    if more and case.parallel.tensor == 1:
        yield Lever(setting="pipeline", values=more, relieves=_ROOM, cost="more cards", cost_rank=4)
