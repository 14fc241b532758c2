"""What can be changed, what it relieves and what it costs."""

from collections.abc import Iterator

from ullage.domain.architecture import ExpertFeedForward
from ullage.domain.case import Case, Value
from ullage.domain.placement import Parallel
from ullage.domain.plan import Lever, Limit
from ullage.engines.runtime.cache import chunk_of, most_bytes, sequence_bytes, sequences_at_once
from ullage.engines.runtime.settings import CACHE_FORMS, NATIVE, WEIGHT_FORMS
from ullage.engines.runtime.weights import how, resident
from ullage.frozen import replace
from ullage.units import MiB

_CACHE, _WORKSPACE, _WEIGHTS = Limit.CACHE, Limit.WORKSPACE, Limit.WEIGHTS
_GROWTH, _EVERYTHING = frozenset({_CACHE, _WORKSPACE}), frozenset({_CACHE, _WORKSPACE, _WEIGHTS})
_CHUNKS = (4096, 2048, 1024, 512, 256, 128, 64)
_SHORTEST = 512
_RESERVED = frozenset({Limit.HOST})
_PARTS = (2, 4, 8, 16, 32)
_PAGES = (64, 16)


def layouts(case: Case) -> tuple[Parallel, ...]:
    """Whole layers on ever more devices, the fewest first."""
    most = min(len(case.machine.devices), len(case.model.architecture.layers))
    return tuple(Parallel(pipeline=count) for count in range(1, max(1, most) + 1))


def levers(case: Case) -> tuple[Lever, ...]:
    """Every lever, in the order to try."""
    return (*_step(case), *_pool(case), *_forms(case), *_places(case), *_work(case))


def _step(case: Case) -> Iterator[Lever]:
    smaller = tuple(size for size in _CHUNKS if size < chunk_of(case))
    if smaller:
        yield Lever(setting="chunk", values=smaller, relieves=_EVERYTHING, cost="slower prompts", cost_rank=1, searched=smaller[:2])
    pages = tuple(size for size in _PAGES if size < (case.settings.integer("page_tokens") or 0))
    if pages and case.workload.concurrent_sequences > 1:
        yield Lever(
            setting="page_tokens", values=pages, relieves=frozenset({_CACHE}), cost="more and smaller runs to attend to", cost_rank=1
        )


def _pool(case: Case) -> Iterator[Lever]:
    """What is reserved for the cache before a token comes: by no fewer sequences than were asked for, by shorter ones, or as said.

    A plan asks for what the workload takes, which these leave as it is: they are for a process that was refused its reservation.
    """
    fewer = _halves(sequences_at_once(case), case.workload.concurrent_sequences)
    shorter = _halves(case.settings.integer("max_len") or 0, _SHORTEST)
    if fewer:
        yield Lever(setting="max_seqs", values=fewer, relieves=_RESERVED, cost="the others wait", cost_rank=2)
    if shorter:
        yield Lever(setting="max_len", values=shorter, relieves=_RESERVED, cost="shorter sequences", cost_rank=2)
    need = case.workload.concurrent_sequences * max(sequence_bytes(case))
    most = case.settings.integer("cache") or most_bytes(case)
    less = tuple(size for part in _PARTS if (size := most // part - most // part % MiB) >= max(need, MiB))
    if less:
        yield Lever(setting="cache", values=less, relieves=_RESERVED, cost="fewer tokens at once", cost_rank=2)


def _forms(case: Case) -> Iterator[Lever]:
    if case.settings.text("dtype") == "float32" and case.model.architecture.dtype != "float32":
        yield Lever(setting="dtype", values=("bfloat16",), relieves=_EVERYTHING, cost="none: the checkpoint holds no more", cost_rank=0)
    kept = how(case)
    now = resident(case.model, kept).nbytes
    fewer = tuple(form for form in WEIGHT_FORMS if form != kept.asked and resident(case.model, replace(kept, asked=form)).nbytes < now)
    if fewer:
        yield Lever(setting="weights", values=fewer, relieves=_EVERYTHING, cost="fewer bits a weight: some quality", cost_rank=3)
    if case.settings.text("kv_dtype") == NATIVE and len(CACHE_FORMS) > 1:
        yield Lever(
            setting="kv_dtype", values=_cache_forms(), relieves=_GROWTH, cost="a cache of fewer bits: some speed and quality", cost_rank=3
        )


def _cache_forms() -> tuple[Value, ...]:
    return tuple(form for form in ("int8", "int4") if form in CACHE_FORMS)


def _places(case: Case) -> Iterator[Lever]:
    most = min(len(case.machine.devices), len(case.model.architecture.layers))
    more: tuple[Value, ...] = tuple(range(case.parallel.pipeline + 1, most + 1))
    if more and not case.settings.has("split"):
        yield Lever(setting="pipeline", values=more, relieves=_EVERYTHING, cost="more devices", cost_rank=4)
    outlines = (layer.feed_forward for layer in case.model.architecture.layers)
    experts = max((outline.experts_per_token for outline in outlines if isinstance(outline, ExpertFeedForward)), default=0)
    if experts and how(case).device != "cpu" and not case.settings.has("host_experts"):
        yield Lever(setting="host_experts", values=(8 * experts, experts), relieves=_EVERYTHING, cost="experts are copied", cost_rank=4)


def _halves(count: int, least: int) -> tuple[Value, ...]:
    found: list[Value] = []
    while count // 2 >= least:
        count //= 2
        found.append(count)
    return tuple(found)


def _work(case: Case) -> Iterator[Lever]:
    rows, context = case.workload.concurrent_sequences, case.workload.context_tokens or 0
    if _halves(rows, 1):
        yield Lever(setting="concurrency", values=_halves(rows, 1), relieves=_GROWTH, cost="the others wait", cost_rank=2)
    if _halves(context, _SHORTEST):
        yield Lever(setting="context", values=_halves(context, _SHORTEST), relieves=_GROWTH, cost="shorter sequences", cost_rank=2)
