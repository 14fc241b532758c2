"""What can be changed, what it relieves and what it costs; and the devices a model can be spread over."""

from collections.abc import Iterator

from ullage.domain.architecture import FullAttention, LatentAttention
from ullage.domain.case import Case, Value
from ullage.domain.placement import Parallel
from ullage.domain.plan import Lever, Limit
from ullage.engines.transformers import continuous
from ullage.engines.transformers.cache import implementation
from ullage.engines.transformers.device_map import CPU
from ullage.engines.transformers.placement import limits, on_processor, single_device
from ullage.engines.transformers.versions import rules, version

CACHE, WORKSPACE, WEIGHTS, START, HOST = Limit.CACHE, Limit.WORKSPACE, Limit.WEIGHTS, Limit.START, Limit.HOST
_GROWTH = frozenset({CACHE, WORKSPACE})
_EVERYTHING = frozenset({CACHE, WORKSPACE, WEIGHTS})
_CHUNKS = (8192, 4096, 2048, 1024)
SHORTEST = 512


def layouts(case: Case) -> tuple[Parallel, ...]:
    """Whole layers on ever more devices, the fewest first."""
    return tuple(Parallel(pipeline=count) for count in range(1, max(1, len(case.machine.devices)) + 1))


def levers(case: Case) -> tuple[Lever, ...]:
    """Every lever of this release for this case, in the order to try. The server is told of its pool, and of no map or limit of devices."""
    if continuous.is_continuous(case):
        return (*_computing(case), *_pool(case), *_work(case), *_more_devices(case))
    return (*_computing(case), *_caches(case), *_work(case), *_more_devices(case), *_devices(case))


def _computing(case: Case) -> Iterator[Lever]:
    if case.settings.text("dtype") == "float32" and case.model.architecture.dtype != "float32":
        yield Lever(
            setting="dtype",
            values=(case.model.architecture.dtype,),
            relieves=_EVERYTHING,
            cost="none: the checkpoint holds no more than that",
            cost_rank=0,
        )
    faster: tuple[Value, ...] = ("sdpa", "flash_attention_2") if version("4.36.0") <= case.version else ()
    now = case.settings.text("attn_implementation")
    better = faster if now == "eager" else faster[1:] if now == "sdpa" else ()
    better = tuple(kernel for kernel in better if kernel == "sdpa" or not on_processor(case))
    if better:
        yield Lever(setting="attn_implementation", values=better, relieves=_GROWTH, cost="another kernel has to be there", cost_rank=0)
    prompt, chunk = case.workload.prompt_tokens or 0, case.settings.integer("prefill_chunk_size")
    smaller = tuple(size for size in _CHUNKS if size < min(prompt, chunk or prompt))
    if smaller and case.version >= version("4.50.0") and not continuous.is_continuous(case):
        yield Lever(
            setting="prefill_chunk_size",
            values=smaller,
            relieves=frozenset({WORKSPACE}),
            cost="a slower prompt",
            cost_rank=1,
            searched=smaller,
        )


def _caches(case: Case) -> Iterator[Lever]:
    known = rules(case).caches
    if implementation(case) != "dynamic":
        return
    if "offloaded" in known and not on_processor(case):
        yield Lever(
            setting="cache_implementation",
            values=("offloaded",),
            relieves=_GROWTH,
            cost="slower tokens: each layer's cache comes from the host",
            cost_rank=1,
        )
    mixers = [mixer for layer in case.model.architecture.layers for mixer in layer.mixers]
    if "quantized" in known and all(isinstance(mixer, FullAttention | LatentAttention) for mixer in mixers):
        yield Lever(
            setting="cache_implementation",
            values=("quantized",),
            relieves=_GROWTH,
            cost="a 4-bit cache: slower tokens and some quality",
            cost_rank=3,
        )


def _pool(case: Case) -> Iterator[Lever]:
    if not rules(case).pool_flags:
        return
    pool = continuous.plan(case)
    smaller = tuple(tokens for tokens in (4096, 2048, 1024, 512, 256) if tokens < pool.batch_tokens)
    if smaller:
        yield Lever(
            setting="max_batch_tokens",
            values=smaller,
            relieves=frozenset({CACHE, START}),
            cost="slower prompts",
            cost_rank=1,
            searched=smaller,
        )
    now = continuous.percent(case)
    yield Lever(
        setting="max_memory_percent",
        values=tuple(value for value in (0.92, 0.94, 0.96) if value > now),
        relieves=frozenset({CACHE}),
        cost="less room for what the plan does not see",
        cost_rank=1,
    )
    yield Lever(
        setting="max_memory_percent",
        values=tuple(value for value in (0.85, 0.8, 0.7, 0.6) if value < now),
        relieves=frozenset({WORKSPACE}),
        cost="a smaller pool",
        cost_rank=2,
    )


def _halves(count: int, least: int) -> tuple[Value, ...]:
    found: list[Value] = []
    while count // 2 >= least:
        count //= 2
        found.append(count)
    return tuple(found)


def _work(case: Case) -> Iterator[Lever]:
    rows, context = case.workload.concurrent_sequences, case.workload.context_tokens or 0
    if rows > 1:
        yield Lever(setting="concurrency", values=_halves(rows, 1), relieves=_GROWTH, cost="fewer sequences in a batch", cost_rank=2)
    if _halves(context, SHORTEST):
        yield Lever(setting="context", values=_halves(context, SHORTEST), relieves=_GROWTH, cost="shorter sequences", cost_rank=2)


def _more_devices(case: Case) -> Iterator[Lever]:
    more: tuple[Value, ...] = tuple(range(case.parallel.pipeline + 1, len(case.machine.devices) + 1))
    if more:
        yield Lever(setting="pipeline", values=more, relieves=_EVERYTHING, cost="more devices", cost_rank=4)


def _devices(case: Case) -> Iterator[Lever]:
    if single_device(case) is None and not case.settings.has("max_memory") and not on_processor(case):
        yield Lever(
            setting="max_memory",
            values=tuple(_less(case, part) for part in (90, 80, 70, 60, 50)),
            relieves=frozenset({CACHE, WORKSPACE}),
            cost="weights go to other devices or the host, which is slow",
            cost_rank=1,
        )
    if case.parallel.devices > 1 and case.settings.get("device_map") in {"auto", "balanced"}:
        yield Lever(
            setting="device_map",
            values=("balanced_low_0", "sequential"),
            relieves=_EVERYTHING,
            cost="none: other devices hold more of the weights",
            cost_rank=0,
        )


def _less(case: Case, per_cent: int) -> str:
    """``max_memory`` with that part of every accelerator's limit."""
    found = limits(case)
    return ",".join(f"{name}={limit * (100 if name == CPU else per_cent) // 100 >> 20}MiB" for name, limit in found.items())
