"""What can be changed: each setting with values to try, what it relieves and what it costs."""

from collections.abc import Iterator

from ullage.domain.case import Case, Value
from ullage.domain.ledger import NOTHING
from ullage.domain.placement import Parallel
from ullage.domain.plan import Lever, Limit
from ullage.engines.vllm import dual_chunk, overhead
from ullage.engines.vllm.capacity import longest, null_blocks, scarcest, sequence_blocks, usable_blocks
from ullage.engines.vllm.processor import on_processor, takes_bytes
from ullage.engines.vllm.processor_levers import pool as processor_pool
from ullage.engines.vllm.ranks import is_capped, ranks
from ullage.engines.vllm.resolve import rules
from ullage.engines.vllm.versions import Core
from ullage.formulas.placement import proportional

CACHE, WORKSPACE, WEIGHTS, START = Limit.CACHE, Limit.WORKSPACE, Limit.WEIGHTS, Limit.START
_FRACTIONS = (0.60, 0.70, 0.80, 0.85, 0.88, 0.90, 0.92, 0.93, 0.94, 0.95)
LAST_DUAL_CHUNK = "0.10.2"
PARTITION, PARTITION_SINCE = "VLLM_PP_LAYER_PARTITION", (0, 5, 4)
_COMFORTABLE = (8192, 4096, 2048, 1024)  # smaller batches cost too much speed to be chosen unasked
_BATCHES = (131072, 65536, 32768, 16384, 8192, 4096, 2048, 1024, 512, 256)


def levers(case: Case) -> tuple[Lever, ...]:
    """Every lever of this release for this case, in the order to try."""
    if on_processor(case):
        return (*processor_pool(case), *_fraction(case), *_batch(case), *_length(case))
    return (
        *_release(case),
        *_pool(case),
        *_partition(case),
        *_fraction(case),
        *_batch(case),
        *_length(case),
        *_graphs(case),
        *_quality(case),
        *_parallel(case),
    )


def _release(case: Case) -> Iterator[Lever]:
    """The last release that can run a model which this one refuses."""
    if case.model.architecture.dual_chunk is not None and rules(case).core is Core.V1:
        yield Lever(
            setting="engine_version",
            values=(LAST_DUAL_CHUNK,),
            relieves=frozenset({START}),
            cost="an older release, its V0 engine",
            cost_rank=1,
        )


def _pool(case: Case) -> Iterator[Lever]:
    """Cap the pool at what the workload needs, so that what the profile did not see has the rest.

    Who states the fraction has said how the pool is to be sized: then the cap is offered and not chosen.
    """
    if is_capped(case):
        return
    rank = scarcest(case)
    tokens = max(case.settings.integer("max_model_len") or 1, case.workload.context_tokens or 1)
    need = sequence_blocks(case, rank.pool, tokens) * max(1, case.workload.concurrent_sequences) if rank.pool.groups else 0
    need += null_blocks(case) if need else 0
    if 0 < need < rank.blocks.expected and case.version.parts >= (0, 4):
        yield Lever(
            setting="num_gpu_blocks_override",
            values=(need,),
            relieves=frozenset({WORKSPACE}),
            cost="no prefix cache beyond the sequences asked for",
            cost_rank=0,
            searched=() if "gpu_memory_utilization" in case.stated else (need,),
        )


def _partition(case: Case) -> Iterator[Lever]:
    """Layers of pipeline stages in proportion to the room of their cards; by itself the engine cuts them equally."""
    stages, layers = case.parallel.pipeline, len(case.model.architecture.layers)
    if stages == 1 or case.version.parts < PARTITION_SINCE or PARTITION in dict(case.environment):
        return
    ends = 2 * case.model.architecture.vocab_size * case.model.architecture.hidden_size // case.parallel.tensor
    rooms = [0] * stages
    for rank in ranks(case):
        stage = rank.weights.stage
        room = rank.budget - (rank.fixed.expected - rank.weights.nbytes) - (ends if stage in {0, stages - 1} else 0)
        rooms[stage] = min(rooms[stage] or room, room)
    counts = proportional(layers, [max(room, 0) for room in rooms])
    if min(counts) < 1 or max(counts) - min(counts) <= 1:
        return
    text = ",".join(str(count) for count in counts)
    yield Lever(
        setting=PARTITION,
        values=(text,),
        relieves=frozenset({CACHE, WEIGHTS}),
        cost="none in memory: more layers on the larger cards",
        cost_rank=0,
        searched=(text,),
    )


def _fraction(case: Case) -> Iterator[Lever]:
    now = case.settings.number("gpu_memory_utilization") or 0.9
    if is_capped(case) or (on_processor(case) and not takes_bytes(case)):
        return
    searches = not on_processor(case)  # there a stated cache is better than a share of what everybody uses
    yield Lever(
        setting="gpu_memory_utilization",
        values=tuple(value for value in _FRACTIONS if value > now),
        relieves=frozenset({CACHE, WEIGHTS}),
        cost="less room for what the profile does not see",
        cost_rank=1,
        searched=tuple(value for value in _FRACTIONS if value > now) if searches else (),
    )
    yield Lever(
        setting="gpu_memory_utilization",
        values=(*_free(case, now), *(value for value in reversed(_FRACTIONS) if value < now)),
        relieves=frozenset({WORKSPACE}),
        cost="a smaller cache",
        cost_rank=1,
        searched=_free(case, now) if searches else (),
    )


def _free(case: Case, now: float) -> tuple[float, ...]:
    """The largest fractions that what others hold leaves free, where the present one asks for more."""
    before = NOTHING if on_processor(case) else overhead.context(case) + overhead.network_outside(case)
    shares = [(device.total_bytes - device.reserved_bytes - before.expected) / device.total_bytes for device in case.devices]
    most = int(min(shares, default=1.0) * 100)
    return tuple(percent / 100 for percent in range(most, max(most - 4, 0), -1)) if most / 100 < now else ()


def _batch(case: Case) -> Iterator[Lever]:
    now, length = case.settings.integer("max_num_batched_tokens") or 0, case.settings.integer("max_model_len") or 0
    chunked = bool(case.settings.flag("enable_chunked_prefill"))
    sequences = case.settings.integer("max_num_seqs") or 1
    smaller: tuple[Value, ...] = tuple(value for value in _BATCHES if value < now and (chunked or value >= length))
    if smaller:
        yield Lever(
            setting="max_num_batched_tokens",
            values=smaller,
            relieves=frozenset({CACHE, WORKSPACE, START}),
            cost="slower prefill of long prompts",
            cost_rank=1,
            searched=tuple(value for value in smaller if value in _COMFORTABLE),
        )
    if not chunked and rules(case).core is Core.V0 and case.version.parts >= (0, 4):
        yield Lever(
            setting="enable_chunked_prefill",
            values=(True,),
            relieves=frozenset({CACHE, WORKSPACE, START}),
            cost="slower prefill of long prompts",
            cost_rank=1,
            also=(("max_num_batched_tokens", None),),
        )
    fewer: tuple[Value, ...] = tuple(value for value in (512, 256, 128, 64, 32, 16, 8) if value < sequences)
    if fewer:
        yield Lever(
            setting="max_num_seqs",
            values=fewer,
            relieves=frozenset({CACHE, WORKSPACE}),
            cost="fewer sequences at once; a smaller sampler and fewer graphs",
            cost_rank=2,
        )


def _length(case: Case) -> Iterator[Lever]:
    """The longest length that fits; and, where chunked prefill then switches itself on, longer ones that may fit as well."""
    now = case.settings.integer("max_model_len") or 0
    rank, rule = scarcest(case), rules(case)
    if not rank.pool.groups:
        return
    most, safe = (longest(case, rank.pool, usable_blocks(case, blocks)) for blocks in (rank.blocks.expected, rank.blocks.low))
    step = max(1024, now // 32 // 1024 * 1024)
    chunked = bool(case.settings.flag("enable_chunked_prefill"))
    steps = [value for size in (most, safe) for value in (size, size // 1024 * 1024) if 0 < value < now]
    steps += list(range(step, now, step))
    yield Lever(
        setting="max_model_len",
        values=tuple(sorted(set(steps), reverse=True)),
        relieves=frozenset({CACHE, START}),
        cost="shorter sequences"
        if chunked
        else "shorter sequences; the profile run shrinks with the length, so more is left for the cache",
        cost_rank=2,
    )
    allowed = case.model.architecture.max_context_tokens or 0
    if rule.chunked_above is not None and now <= rule.chunked_above < allowed and "enable_chunked_prefill" not in case.stated:
        yield Lever(
            setting="max_model_len",
            values=tuple(value for value in (rule.chunked_above + 1, 40960, 65536, allowed) if now < value <= allowed),
            relieves=frozenset({CACHE}),
            cost=f"none: above {rule.chunked_above:,} chunked prefill switches itself on and the profile shrinks",
            cost_rank=0,
            also=(("max_num_batched_tokens", None), ("enable_chunked_prefill", None)),
        )


def _graphs(case: Case) -> Iterator[Lever]:
    if case.settings.flag("enforce_eager") or dual_chunk.applies(case):
        return
    relieved = {CACHE, WEIGHTS} if rules(case).graphs_budgeted else {WORKSPACE}
    yield Lever(
        setting="enforce_eager", values=(True,), relieves=frozenset(relieved), cost="slower decoding without CUDA graphs", cost_rank=1
    )


def _quality(case: Case) -> Iterator[Lever]:
    if (case.settings.text("kv_cache_dtype") or "auto") == "auto" and case.version.parts >= (0, 4) and not dual_chunk.applies(case):
        yield Lever(
            setting="kv_cache_dtype",
            values=("fp8",),
            relieves=frozenset({CACHE}),
            cost="8-bit keys and values: some quality on long contexts",
            cost_rank=3,
        )


def _parallel(case: Case) -> Iterator[Lever]:
    """More of the machine's devices."""
    free = len(case.machine.devices) // max(1, case.parallel.pipeline * case.parallel.data)
    larger = tuple(value for value in range(case.parallel.tensor + 1, free + 1) if _divides(case, value))
    if larger:
        yield Lever(
            setting="tensor",
            values=larger,
            relieves=frozenset({CACHE, WEIGHTS, WORKSPACE}),
            cost="more devices",
            cost_rank=4,
        )
    if case.version.parts >= (0, 6) and not case.settings.has("cpu_offload_gb"):
        yield Lever(
            setting="cpu_offload_gb",
            values=(1, 2, 4, 8, 16, 32, 64),
            relieves=frozenset({WEIGHTS}),
            cost="weights cross the bus at every step",
            cost_rank=4,
        )


def _divides(case: Case, tensor: int) -> bool:
    heads = [getattr(mixer, "query_heads", tensor) for layer in case.model.architecture.layers for mixer in layer.mixers]
    return all(count % tensor == 0 for count in heads)


def layouts(case: Case) -> tuple[Parallel, ...]:
    """Tensor parallelism as wide as heads and devices allow, the rest in pipeline stages; then the same on fewer devices.

    Unequal cards may also be stages of their own: a tensor-parallel group has no more than its smallest card.
    """
    if on_processor(case):
        return (case.parallel,)
    found = []
    there = case.machine.devices
    unequal = len({device.total_bytes - device.reserved_bytes for device in there}) > 1
    for devices in range(len(case.machine.devices), 0, -1):
        for tensor in range(devices, 0, -1):
            pipeline = devices // tensor
            if devices % tensor == 0 and _divides(case, tensor) and pipeline <= len(case.model.architecture.layers):
                found.append(Parallel(tensor=tensor, pipeline=pipeline))
                break
    if unequal and len(there) <= len(case.model.architecture.layers):
        found.append(Parallel(pipeline=len(there)))
    return tuple(dict.fromkeys(found)) or (Parallel(),)
