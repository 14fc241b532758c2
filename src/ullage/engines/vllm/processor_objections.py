"""Why vLLM does not start on a processor, in the words of its releases."""

from collections.abc import Iterator

from ullage.domain.case import Case
from ullage.domain.plan import Limit, Objection
from ullage.engines.vllm.processor import (
    BINDING,
    SPACE,
    Sizing,
    checks_start,
    has_latents,
    kernel_tokens,
    share_bytes,
    sizing,
    stated_bytes,
    takes_bytes,
    world,
)
from ullage.engines.vllm.ranks import Rank
from ullage.units import GiB, MiB, format_bytes

EXPLAINED = (0, 22)  # the first release that says what the flag means there; 0.20 does not, 0.23 does
# The earliest release of which they are known; 0.30 and 0.32 are alike.
_WARMED_COMPILED_SINCE = _WHOLE_BLOCKS_SINCE = (0, 28)
_NAMED_BACKENDS_SINCE = (0, 32)
NODE = 0  # a machine of one node, which is what a plan knows


def _gib(nbytes: int) -> str:
    """As the engine rounds."""
    return f"{round(nbytes / GiB, 2)}"


def unbound(case: Case) -> Iterator[Objection]:
    """Several workers need a node of memory each, or to be told their cores."""
    if world(case) == 1:
        return
    said = dict(case.environment).get(BINDING, "auto")
    if said == "auto" and "VLLM_CPU_SIM_MULTI_NUMA" not in dict(case.environment):
        yield Objection(
            text=(
                f"Not enough allowed NUMA nodes to bind threads of {world(case)} local CPUWorkers. Allowed NUMA nodes are [{NODE}]. "
                "Please try to bind threads manually or decrease DP/TP/PP."
            ),
            why=f"{world(case)} workers share one node of memory, and nobody said which cores each has",
            next_step=f"--env '{BINDING}={'|'.join(str(rank) for rank in range(world(case)))}', a list of cores for each worker",
        )
    elif said not in {"auto", "nobind"} and len(said.split("|")) != world(case):
        yield Objection(
            text=f"Given number of CPU id list {said.split('|')} doesn't match local world size {world(case)}.",
            why=f"{BINDING} names cores for {len(said.split('|'))} workers, and there are {world(case)}",
            next_step=f"name the cores of each worker, {world(case)} lists with | between them",
        )


def stages_unprepared(case: Case) -> Iterator[Objection]:
    """The warm-up makes what later stages receive into, and an eager model is not warmed up: the first request kills the engine."""
    if case.parallel.pipeline == 1 or not case.settings.flag("enforce_eager") or case.version.parts < _WARMED_COMPILED_SINCE:
        return
    yield Objection(
        text="AssertionError: assert self.intermediate_tensors is not None",
        why="eager stages of a pipeline are not warmed up on a processor, and the first request ends the engine",
        next_step="leave --enforce-eager out, or --tensor-parallel-size in place of stages",
    )


def blocks_unread(case: Case, rank: Rank) -> Iterator[Objection]:
    """The attention kernel reads whole multiples of a number of tokens, and no other block of full attention."""
    multiple = kernel_tokens(case)
    odd = next((group.block_tokens for group in rank.pool.groups if group.kind == "full" and group.block_tokens % multiple), None)
    if odd is None or case.version.parts < _WHOLE_BLOCKS_SINCE or has_latents(case):
        return
    named = f" (CPU_ATTN: [MultipleOf({multiple})])" if case.version.parts >= _NAMED_BACKENDS_SINCE else ""
    yield Objection(
        text=f"No common block size for {odd}{named}.",
        why=f"on a processor blocks are multiples of {multiple} tokens",
        next_step=f"--block-size {-(-odd // multiple) * multiple}, or leave --block-size out",
    )


def no_memory(case: Case, rank: Rank) -> Iterator[Objection]:
    """The start-up check of the share, and the check of the cache that was asked for or is left."""
    device, said = rank.device, stated_bytes(case)
    free = device.total_bytes - device.reserved_bytes
    wanted = share_bytes(case, device)
    fraction = case.settings.number("gpu_memory_utilization") or 0.0
    if not takes_bytes(case):
        return
    if said is not None:
        yield from _stated(rank, said, free - rank.fixed.expected)
    elif checks_start(case) and wanted > free:
        yield Objection(
            text=(
                f"Available memory on node {NODE} ({_gib(free)}/{_gib(device.total_bytes)} GiB) on startup is less than desired CPU memory "
                f"utilization ({fraction}, {_gib(wanted)} GiB). {_advice(case)}"
            ),
            why=f"{format_bytes(free)} are free and {format_bytes(wanted)} were asked for",
            next_step=f"--gpu-memory-utilization {max(0, int(free / device.total_bytes * 100)) / 100:g}, or --kv-cache-memory-bytes",
            limit=Limit.WORKSPACE,
        )
    elif sizing(case) is Sizing.SHARE and rank.fixed.expected >= wanted:
        yield _nothing_left(case, rank, wanted, free)


def _advice(case: Case) -> str:
    if case.version.parts < EXPLAINED:
        return "Decrease --gpu-memory-utilization or reduce CPU memory used by other processes."
    return (
        "On the CPU backend, the `--gpu-memory-utilization` flag controls the fraction of CPU memory reserved (despite its name). To "
        "resolve: decrease `--gpu-memory-utilization` (e.g. `--gpu-memory-utilization 0.5`) or reduce CPU memory used by other processes."
    )


def _stated(rank: Rank, said: int, free: int) -> Iterator[Objection]:
    if said > free:
        yield Objection(
            text=(
                f"Available memory on node {NODE} ({_gib(free)}/{_gib(rank.device.total_bytes)} GiB) on kv cache allocation is less than "
                f"requested memory for kv ({_gib(said)} GiB). Decrease --kv-cache-memory-bytes, {SPACE}, or reduce CPU memory used by "
                "other processes."
            ),
            why=f"{format_bytes(max(free, 0))} are left beside the worker's own {format_bytes(rank.fixed.expected)}",
            next_step=f"--kv-cache-memory-bytes {max(free, 0) // MiB}M",
            limit=Limit.CACHE,
        )


def _nothing_left(case: Case, rank: Rank, wanted: int, free: int) -> Objection:
    total, left = rank.device.total_bytes, wanted - rank.fixed.expected
    text = (
        f"Available memory on node {NODE} ({_gib(free - rank.fixed.expected)}/{_gib(total)} GiB) on kv cache allocation is less than "
        f"requested memory for kv ({_gib(left)}/{_gib(wanted)} GiB). Reduce CPU memory used by other processes."
        if checks_start(case)
        else f"The worker already uses {_gib(rank.fixed.expected)} GiB (model weights and runtime), more than the {_gib(wanted)} GiB of "
        f"CPU memory reserved for it on node {NODE}, leaving none for the KV cache"
    )
    return Objection(
        text=text,
        why=f"the worker alone holds {format_bytes(rank.fixed.expected)} of the {format_bytes(wanted)} that its share allows",
        next_step="a higher --gpu-memory-utilization, or --kv-cache-memory-bytes",
        limit=Limit.CACHE,
    )
