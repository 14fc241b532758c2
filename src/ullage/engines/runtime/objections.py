"""What the runtime refuses at its start, in its own words."""

from collections.abc import Iterator

from ullage.domain.architecture import FullAttention, LatentAttention, SlidingAttention
from ullage.domain.case import Case
from ullage.domain.checkpoint import Part
from ullage.domain.plan import Limit, Objection
from ullage.engines.runtime.cache import form
from ullage.engines.runtime.extended import extended
from ullage.engines.runtime.families import FAMILIES
from ullage.engines.runtime.placement import NO_EXPERTS, spans_of
from ullage.engines.runtime.settings import dual_chunk, split_of
from ullage.engines.runtime.sizing import CPU
from ullage.errors import InputError, UnsupportedModelError
from ullage.units import format_bytes


def objections(case: Case) -> tuple[Objection, ...]:
    """In the order in which the runtime would meet them."""
    return (*_devices(case), *_dtype(case), *_family(case), *_chunks(case), *_memory(case))


def _devices(case: Case) -> Iterator[Objection]:
    device = case.settings.text("device") or CPU
    count, layers = len(device.split(",")), len(case.model.architecture.layers)
    if case.parallel.tensor * case.parallel.data > 1:
        yield Objection(
            text=f"{case.parallel.tensor} tensor x {case.parallel.data} data ranks are not run",
            why="the runtime lays whole layers on each device and cuts none",
            next_step=f"--pp {case.parallel.devices}, or an engine that cuts: vllm, sglang",
        )
    elif count != case.parallel.devices:
        yield Objection(
            text=f"--device {device}: {count} are named",
            why=f"{case.parallel.devices} devices are asked for and {count} are named",
            next_step=f"--pp {count}, or as many devices",
        )
    if said := case.settings.text("split"):
        try:
            spans_of(split_of(said), layers, count)
        except InputError as error:
            yield Objection(text=str(error), why=str(error), next_step="leave split out")
    if case.settings.integer("host_experts") and not case.model.architecture.is_mixture:
        yield Objection(text=NO_EXPERTS, why="the model has no experts that could lie on the host", next_step="leave host_experts out")
    kinds = {found.kind for found in case.devices}
    if kinds and device.partition(":")[0] not in kinds:
        yield Objection(
            text=f"--device {device}: PyTorch sees no such device here; write --device {min(kinds)}",
            why=f"the plan is for {', '.join(sorted(kinds))} and the runtime is told {device}",
            next_step=f"device={min(kinds)}",
        )


def _dtype(case: Case) -> Iterator[Objection]:
    if case.settings.text("dtype") == "float16" and (case.settings.text("device") or CPU).startswith(CPU):
        yield Objection(
            text="--dtype float16 is for GPUs; on a processor write --dtype bfloat16",
            why="processors have no fast float16",
            next_step="dtype=bfloat16",
        )


def _family(case: Case) -> Iterator[Objection]:
    architecture = case.model.architecture
    known = ", ".join(sorted(FAMILIES))
    if architecture.model_type not in FAMILIES:
        yield Objection(
            text=f"the runtime does not run the family {architecture.model_type!r}; it runs {known}",
            why=f"the runtime runs {known}, and this is {architecture.model_type}",
            next_step="another engine, or a model of these families",
        )
        return
    for index, layer in enumerate(architecture.layers):
        for mixer in layer.mixers:
            plain = isinstance(mixer, FullAttention | LatentAttention) and mixer.indexer is None
            if not plain and not isinstance(mixer, SlidingAttention):
                yield Objection(
                    text=f"layer {index} keeps {type(mixer).__name__}, which the runtime does not run",
                    why=f"layer {index} keeps what no page of the cache holds",
                    next_step="another engine",
                )
                return
    packed = next((tensor for tensor in case.model.checkpoint.tensors if tensor.part in {Part.ZERO, Part.INDEX}), None)
    if packed is not None:
        yield Objection(
            text=f"the tensor {packed.name} belongs to {case.model.checkpoint.scheme}, which is not computed with here",
            why=f"weights stored as {case.model.checkpoint.scheme} are not unpacked by the runtime",
            next_step="the unquantised model with weights=int4, or a GGUF file",
        )


def _chunks(case: Case) -> Iterator[Objection]:
    asked = case.settings.text("dual_chunk")
    if asked is None:
        return
    try:
        extended(case.model.architecture, *dual_chunk(asked))
    except UnsupportedModelError as error:
        yield Objection(text=str(error), why=str(error), next_step="leave dual_chunk out")


def _memory(case: Case) -> Iterator[Objection]:
    cache, least = case.settings.integer("cache"), form(case).bundle_bytes
    if cache is not None and cache < least:
        yield Objection(
            text=f"{format_bytes(cache)} are left for the cache and one page takes {format_bytes(least)}",
            why=f"not one page of {case.settings.integer('page_tokens')} tokens fits in the cache",
            next_step=f"cache={least} at least, or smaller page_tokens",
            limit=Limit.CACHE,
        )
