"""What can be changed, what it relieves and what it costs; and the cards a model can be spread over."""

from collections.abc import Iterator

from ullage.catalog.exllama_options import AUTO
from ullage.domain.architecture import ExpertFeedForward
from ullage.domain.case import Case, Value
from ullage.domain.placement import Parallel
from ullage.domain.plan import Lever, Limit
from ullage.engines.exllamav3.place import balanced_split
from ullage.engines.exllamav3.settings import keeps_slots

_ANY = frozenset({Limit.CACHE, Limit.WORKSPACE, Limit.WEIGHTS, Limit.START})
_MODES = ("8,8", "6,6", "5,5", "4,4")
_LENGTHS = (131072, 65536, 32768, 24576, 16384, 12288, 8192, 4096, 2048)


def layouts(case: Case) -> tuple[Parallel, ...]:
    """All cards first, then fewer."""
    counts = range(len(case.machine.devices) or 1, 0, -1)
    return tuple(Parallel(tensor=count) if case.settings.flag("tensor_parallel") else Parallel(pipeline=count) for count in counts)


def levers(case: Case) -> tuple[Lever, ...]:
    """Every lever for this case, in the order to try."""
    return (*_free(case), *_speed(case), *_capacity(case), *_quality(case))


def _free(case: Case) -> Iterator[Lever]:
    if len(case.devices) == 1 or case.settings.flag("tensor_parallel"):
        return
    values = tuple(value for value in (AUTO, balanced_split(case)) if value != case.settings.text("gpu_split"))
    yield Lever(setting="gpu_split", values=values, relieves=_ANY, cost="none: the layers lie on other cards", cost_rank=0)


def _speed(case: Case) -> Iterator[Lever]:
    chunk = case.settings.integer("chunk_size") or 0
    smaller: tuple[Value, ...] = tuple(size for size in (1024, 512, 256) if size < chunk)
    if smaller:
        yield Lever(setting="chunk_size", values=smaller, relieves=_ANY, cost="slower prompts", cost_rank=1, searched=smaller[:1])
    layers = [layer for layer in case.model.architecture.layers if isinstance(layer.feed_forward, ExpertFeedForward)]
    now = case.settings.integer("cpu_moe_offload_layers") or 0
    more: tuple[Value, ...] = tuple(count for count in range(4, len(layers) + 4, 4) if count > now)
    if layers and more:
        cost = "slower tokens: those layers' experts run on the processor"
        yield Lever(setting="cpu_moe_offload_layers", values=more, relieves=_ANY, cost=cost, cost_rank=1)


def _capacity(case: Case) -> Iterator[Lever]:
    slots = case.settings.integer("max_batch_size") or 1
    if keeps_slots(case) and slots > 1:
        fewer: tuple[Value, ...] = tuple(count for count in (32, 16, 8, 4, 2, 1) if count < slots)
        yield Lever(setting="max_batch_size", values=fewer, relieves=_ANY, cost="fewer jobs at once", cost_rank=2)
    size = case.settings.integer("cache_size") or 0
    shorter: tuple[Value, ...] = tuple(length for length in _LENGTHS if length < size)
    if shorter:
        name = "cache_size" if "cache_size" in case.stated else "context"
        yield Lever(setting=name, values=shorter, relieves=_ANY, cost="shorter or fewer sequences", cost_rank=2)


def _quality(case: Case) -> Iterator[Lever]:
    now = case.settings.text("cache_mode") or "FP16"
    fewer: tuple[Value, ...] = _MODES if now == "FP16" else tuple(mode for mode in _MODES if mode < now)
    if fewer:
        yield Lever(setting="cache_mode", values=fewer, relieves=_ANY, cost="a quantised cache: some quality", cost_rank=3)
    more: tuple[Value, ...] = tuple(range(case.parallel.pipeline + 1, len(case.machine.devices) + 1))
    if more and case.parallel.tensor == 1:
        yield Lever(setting="pipeline", values=more, relieves=_ANY, cost="more cards", cost_rank=4)
