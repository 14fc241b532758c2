"""What the unsaid settings become."""

from functools import lru_cache

from ullage.domain.architecture import Architecture
from ullage.domain.case import Case, Value
from ullage.engines.runtime.extended import extended
from ullage.engines.runtime.placement import Kept, chosen_split
from ullage.engines.runtime.process import process_bytes
from ullage.engines.runtime.residence import ELEMENT_BYTES
from ullage.engines.runtime.settings import AUTO, NATIVE, cache_forms, dual_chunk
from ullage.engines.runtime.shares import Share, case_spans, memory_of, shares_of
from ullage.engines.runtime.sizing import (
    CPU,
    FALLBACK_TOKENS,
    LARGEST_CPU_CHUNK,
    MAX_SEQUENCES,
    PAGE_TOKENS,
    choose_chunk,
    default_dtype,
    default_memory,
)
from ullage.engines.runtime.versions import DEVICE_CONTEXT
from ullage.engines.runtime.weights import how, resident
from ullage.errors import UnsupportedModelError
from ullage.frozen import replace


def resolve(case: Case) -> Case:
    """The case with every default said. Where nothing names a context, it is the longest sequence the runtime is told of."""
    said = case.settings
    sequences = case.workload.concurrent_sequences
    kind = case.devices[0].kind if case.devices else CPU
    device = said.text("device") or _named(kind, case.parallel.devices)
    dtype = said.text("dtype") or AUTO
    context = case.workload.context_tokens or said.integer("max_len") or case.model.architecture.max_context_tokens or FALLBACK_TOKENS
    values: dict[str, Value] = {
        "weights": NATIVE,
        "kv_dtype": NATIVE,
        "page_tokens": PAGE_TOKENS,
        "max_seqs": max(MAX_SEQUENCES, sequences),
        "max_len": context,
        "prefix_cache": True,
        **{name: value for name, value in said.items if value is not None},
        "device": device,
        "dtype": default_dtype(case.model.architecture.dtype, device.partition(":")[0]) if dtype == AUTO else dtype,
    }
    if "memory" not in values:
        values["memory"] = default_memory(min((d.total_bytes - d.reserved_bytes for d in case.devices), default=0))
    named = replace(case, settings=said.with_(**values), workload=replace(case.workload, context_tokens=context))
    if case.parallel.devices > 1 and not said.text("split"):
        named = named.with_settings(split=_split(named))
    if said.get("chunk") not in {None, AUTO}:
        return named
    return named.with_settings(chunk=_chunk(named))


def _chunk(case: Case) -> int:
    device = (case.settings.text("device") or CPU).partition(":")[0]
    return choose_chunk(
        architecture_of(case),
        context=case.settings.integer("max_len") or 1,
        sequences=case.settings.integer("max_seqs") or 1,
        element=element_of(case),
        left_bytes=min((_left(case, share) for share in shares(case)), default=0),
        device=device,
    )


def _named(kind: str, count: int) -> str:
    return kind if count == 1 else ",".join(f"{kind}:{index}" for index in range(count))


def shares(case: Case) -> tuple[Share, ...]:
    """What lies on each device of a resolved case."""
    return shares_of(case.model.architecture, resident(case.model, how(case)), case_spans(case), case.settings.integer("host_experts"))


def _left(case: Case, share: Share) -> int:
    """Bytes of a device for pages and steps."""
    memory = case.settings.integer("memory") or 0
    if case.devices:
        memory = memory_of(case, case.devices[share.index])
    on_host = share.experts if how(case).device == CPU else 0
    return memory - share.nbytes - share.staging - on_host - base_of(case, share)


def base_of(case: Case, share: Share) -> int:
    """What the process takes on a device before any weight: it has one host, and a context on every accelerator."""
    if how(case).device == CPU:
        return process_bytes(case.model.path, case.model.architecture.vocab_size) if share.first else 0
    return DEVICE_CONTEXT.value


def _split(case: Case) -> str:
    keys, values = cache_forms(case.settings.text("kv_dtype") or NATIVE)
    kept = Kept(
        tokens=case.workload.context_tokens or 1,
        sequences=case.workload.concurrent_sequences,
        rows=case.settings.integer("chunk") or LARGEST_CPU_CHUNK,
        page_tokens=case.settings.integer("page_tokens") or PAGE_TOKENS,
        keys=keys,
        values=values,
        element=element_of(case),
    )
    caps = [memory_of(case, device) for device in case.devices]
    on_host = bool(case.settings.integer("host_experts"))
    return ",".join(map(str, chosen_split(architecture_of(case), resident(case.model, how(case)), kept, caps, on_host=on_host)))


def element_of(case: Case) -> int:
    """Bytes of a number in what is computed in."""
    return ELEMENT_BYTES[case.settings.text("dtype") or "bfloat16"]


def architecture_of(case: Case) -> Architecture:
    """The model's, with the dual chunk attention that was asked for; its own where it cannot take that, which is objected to."""
    asked = case.settings.text("dual_chunk")
    return case.model.architecture if asked is None else _with_chunks(case.model.architecture, asked)


@lru_cache(maxsize=64)
def _with_chunks(architecture: Architecture, asked: str) -> Architecture:
    try:
        return extended(architecture, *dual_chunk(asked))
    except UnsupportedModelError:
        return architecture
