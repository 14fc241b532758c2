"""What can be changed: each setting with values to try, what it relieves and what it costs."""

from collections.abc import Iterator

from ullage.domain.case import Case, Value
from ullage.domain.placement import Parallel
from ullage.domain.plan import Lever, Limit
from ullage.engines.sglang.activation import captured_batch
from ullage.engines.sglang.capacity import replicas, scarcest, sequence_tokens
from ullage.engines.sglang.ranks import is_capped
from ullage.engines.sglang.resolve import attention_data, uses_dual_chunk
from ullage.engines.sglang.versions import DUAL_CHUNK_BACKEND, DUAL_CHUNK_LAST
from ullage.formulas.sharding import ceil_div

CACHE, WORKSPACE, WEIGHTS, START = Limit.CACHE, Limit.WORKSPACE, Limit.WEIGHTS, Limit.START
_FRACTIONS = (0.60, 0.65, 0.70, 0.75, 0.80, 0.83, 0.85, 0.88, 0.90, 0.92, 0.94, 0.95)
_CHUNKS = (131072, 65536, 32768, 16384, 8192, 4096, 2048, 1024, 512)
_COMFORTABLE = 1024  # smaller chunks cost too much speed to be chosen unasked
_BATCHES = (256, 128, 64, 32, 16, 8)
_REQUESTS = (1024, 512, 256, 128, 64, 32, 16, 8, 4)


def levers(case: Case) -> tuple[Lever, ...]:
    """Every lever of this release for this case, in the order to try."""
    if not case.devices:
        return tuple(_parallel(case))
    return (
        *_release(case),
        *_pool(case),
        *_requests(case),
        *_fraction(case),
        *_chunk(case),
        *_graphs(case),
        *_length(case),
        *_quality(case),
        *_parallel(case),
    )


def _lever(
    setting: str, values: tuple[Value, ...], relieves: set[Limit], cost: str, rank: int, *, searched: tuple[Value, ...] = ()
) -> Iterator[Lever]:
    """One lever, none without values."""
    if values:
        yield Lever(setting=setting, values=values, relieves=frozenset(relieves), cost=cost, cost_rank=rank, searched=searched)


def _release(case: Case) -> Iterator[Lever]:
    """The last release that can run a model which this one refuses, and the backend it wants."""
    if case.model.architecture.dual_chunk is None or uses_dual_chunk(case):
        return
    if case.version != DUAL_CHUNK_LAST:
        yield from _lever("engine_version", (str(DUAL_CHUNK_LAST),), {START}, "an older release, with dual chunk attention", 1)
    yield from _lever("attention_backend", (DUAL_CHUNK_BACKEND,), {START}, "none: what the model asks for", 0)


def _pool(case: Case) -> Iterator[Lever]:
    """Cap the pool at what the workload needs, so that a step has the rest. Who states the fraction has said how it is sized."""
    rank, tokens = scarcest(case), case.workload.context_tokens
    if is_capped(case) or tokens is None or not rank.pool.cell:
        return
    need = sequence_tokens(case, tokens) * ceil_div(case.workload.concurrent_sequences, replicas(case))
    if 0 < need < rank.sizes.tokens:
        searched: tuple[Value, ...] = () if "mem_fraction_static" in case.stated else (need,)
        cost = "no prefix cache beyond the sequences asked for"
        yield from _lever("max_total_tokens", (need,), {WORKSPACE}, cost, 0, searched=searched)


def _requests(case: Case) -> Iterator[Lever]:
    """Fewer rows of the request table, which has a row of the whole length for every request that could run."""
    now, asked = scarcest(case).sizes.requests * attention_data(case), case.workload.concurrent_sequences
    fewer: tuple[Value, ...] = tuple(value for value in _REQUESTS if asked <= value < now)
    yield from _lever("max_running_requests", fewer, {WORKSPACE}, "fewer sequences at once", 1, searched=fewer[:3])


def _fraction(case: Case) -> Iterator[Lever]:
    """Counter-intuitive but so: no room for the pool wants a higher fraction, a failed step or capture a lower one."""
    now = case.settings.number("mem_fraction_static") or 0.88
    if is_capped(case):
        return
    more: tuple[Value, ...] = tuple(value for value in _FRACTIONS if value > now)
    less: tuple[Value, ...] = tuple(value for value in reversed(_FRACTIONS) if value < now)
    yield from _lever("mem_fraction_static", more, {CACHE, WEIGHTS}, "less room for activations and graphs", 1, searched=more)
    yield from _lever("mem_fraction_static", less, {WORKSPACE}, "a smaller pool", 1)


def _chunk(case: Case) -> Iterator[Lever]:
    now = case.settings.integer("chunked_prefill_size") or -1
    length = case.settings.integer("context_length") or 0
    smaller: tuple[Value, ...] = tuple(value for value in _CHUNKS if value < (now if now > 0 else length))
    searched = tuple(value for value in smaller if isinstance(value, int) and value >= _COMFORTABLE)
    yield from _lever("chunked_prefill_size", smaller, {WORKSPACE}, "slower prefill of long prompts", 1, searched=searched)


def _graphs(case: Case) -> Iterator[Lever]:
    now = captured_batch(case)
    smaller: tuple[Value, ...] = tuple(value for value in _BATCHES if value < now)
    yield from _lever("cuda_graph_max_bs", smaller, {WORKSPACE}, "larger batches decode without CUDA graphs", 1)
    if now:
        yield from _lever("disable_cuda_graph", (True,), {WORKSPACE}, "slower decoding without CUDA graphs", 1)


def _length(case: Case) -> Iterator[Lever]:
    """The longest length the pool holds, and shorter ones."""
    now, rank = case.workload.context_tokens or case.settings.integer("context_length") or 0, scarcest(case)
    most = [tokens for tokens in (rank.sizes.tokens, rank.low.tokens) if 0 < tokens < now]
    step = max(1024, now // 16 // 1024 * 1024)
    values: tuple[Value, ...] = tuple(sorted({*(tokens // 256 * 256 or tokens for tokens in most), *range(step, now, step)}, reverse=True))
    yield from _lever(
        "context_length" if "context_length" in case.stated else "context", values, {CACHE, START, WORKSPACE}, "shorter sequences", 2
    )


def _quality(case: Case) -> Iterator[Lever]:
    if case.settings.text("kv_cache_dtype") == "auto" and not uses_dual_chunk(case):
        yield from _lever("kv_cache_dtype", ("fp8_e5m2", "fp8_e4m3"), {CACHE}, "8-bit keys and values: some quality on long contexts", 3)


def _parallel(case: Case) -> Iterator[Lever]:
    """More of the machine's devices."""
    free = len(case.machine.devices) // max(1, case.parallel.pipeline * case.parallel.data)
    larger: tuple[Value, ...] = tuple(value for value in range(case.parallel.tensor + 1, free + 1) if _divides(case, value))
    yield from _lever("tensor", larger, {CACHE, WEIGHTS, WORKSPACE}, "more devices", 4)
    if not case.settings.has("cpu_offload_gb"):
        yield from _lever("cpu_offload_gb", (2, 4, 8, 16, 32, 64), {WEIGHTS}, "weights cross the bus at every step", 4)


def _divides(case: Case, tensor: int) -> bool:
    mixers = {mixer for layer in case.model.architecture.layers for mixer in layer.mixers}
    kept = [count for mixer in mixers if (count := getattr(mixer, "kv_heads", 0))]
    heads = [count for mixer in mixers if (count := getattr(mixer, "query_heads", 0))]
    return all(count % tensor == 0 for count in heads) and all(count % tensor == 0 or tensor % count == 0 for count in kept)


def layouts(case: Case) -> tuple[Parallel, ...]:
    """Tensor parallelism as wide as heads and devices allow, the rest in pipeline stages; then the same on fewer devices."""
    most, layers = len(case.machine.devices), len(case.model.architecture.layers)
    found = []
    for devices in range(most, 0, -1):
        widths = (width for width in range(devices, 0, -1) if devices % width == 0 and _divides(case, width) and devices // width <= layers)
        width = next(widths, None)
        if width is not None:
            found.append(Parallel(tensor=width, pipeline=devices // width))
    return tuple(found) or (Parallel(),)
