"""Why the engine will not start, before it is tried."""

import re
from collections.abc import Iterator

from ullage.catalog.tensor_formats import GGML_BY_NAME
from ullage.domain.architecture import ChunkedAttention, FullAttention, LatentAttention, SlidingAttention
from ullage.domain.case import Case
from ullage.domain.checkpoint import Part
from ullage.domain.plan import Limit, Objection
from ullage.engines.llama_cpp.placement import place
from ullage.engines.llama_cpp.resolve import accelerators
from ullage.engines.llama_cpp.settings import cache_format
from ullage.units import GiB, format_bytes

_FLOATS = frozenset({"float32", "float16", "bfloat16"})
_WHOLE_SPLITS_BEFORE = 5000  # builds before asked SYCL for one buffer above what Arc's first cards give at once
_FIRST_ARC = re.compile(r"\bA[357]\d0|\bA730M|Alchemist", re.IGNORECASE)
_LARGEST_ARC_BUFFER = 4 * GiB


def objections(case: Case) -> tuple[Objection, ...]:
    """Every refusal that the case runs into."""
    return (*_files(case), *_replicas(case), *_quantised_values(case), *_blocks(case), *_arc_buffers(case))


def is_gguf(case: Case) -> bool:
    """Whether the weights are, or convert one to one into, tensors of a GGUF file."""
    checkpoint = case.model.checkpoint
    if checkpoint.scheme.startswith("gguf"):
        return True
    kinds = {tensor.format.name for tensor in checkpoint.tensors}
    named = any(tensor.name.startswith("blk.") for tensor in checkpoint.tensors)
    if named or (kinds <= _FLOATS | set(GGML_BY_NAME) and not any(tensor.part is Part.SCALE for tensor in checkpoint.tensors)):
        return True
    return "mxfp4" in checkpoint.scheme.lower()  # the converter keeps these blocks as they are


def _files(case: Case) -> Iterator[Objection]:
    if not is_gguf(case):
        yield Objection(
            text="llama_model_load: error loading model",
            why=f"the weights are stored as {case.model.checkpoint.scheme}, which is no GGUF file",
            next_step="plan the unquantised model with --quant q4_k_m, or give a .gguf file",
        )


def _replicas(case: Case) -> Iterator[Objection]:
    if case.parallel.data > 1:
        yield Objection(
            text="llama-server has no data parallelism",
            why=f"{case.parallel.data} replicas were asked for, and one server runs one",
            next_step=f"start {case.parallel.data} servers with --device, each planned with --dp 1",
        )


def _quantised_values(case: Case) -> Iterator[Objection]:
    kind = case.settings.text("cache_type_v") or "f16"
    if cache_format(kind).block_elements > 1 and case.settings.text("flash_attn") == "off" and not case.settings.integer("mla_attn"):
        yield Objection(
            text="quantized V cache was requested, but this requires Flash Attention",
            why=f"values in {kind} need flash attention, and it is off",
            next_step="set --flash-attn on, or --cache-type-v f16",
        )


def _blocks(case: Case) -> Iterator[Objection]:
    """A block of a cache type must not cross from one head to the next."""
    kinds = (FullAttention, SlidingAttention, ChunkedAttention)
    mixers = [mixer for layer in case.model.architecture.layers for mixer in layer.mixers]
    sizes = {"k": {m.key_dim for m in mixers if isinstance(m, kinds)}, "v": {m.value_dim for m in mixers if isinstance(m, kinds)}}
    sizes["k"] |= {m.latent_dim + m.rope_dim for m in mixers if isinstance(m, LatentAttention)}
    for letter, heads in sizes.items():
        kind = case.settings.text(f"cache_type_{letter}") or "f16"
        block = cache_format(kind).block_elements
        wrong = next((head for head in sorted(heads) if head % block), None)
        if wrong is not None:
            yield Objection(
                text=f"{letter.upper()} cache type {kind} with block size {block} does not divide n_embd_head_{letter}={wrong}",
                why=f"heads of {wrong} elements cannot be cut into blocks of {block}",
                next_step=f"set --cache-type-{letter} f16",
            )


def _arc_buffers(case: Case) -> Iterator[Objection]:
    if case.version.parts[0] >= _WHOLE_SPLITS_BEFORE:
        return
    for device in accelerators(case):
        weights = place(case).weights_on(device.id)
        if device.kind == "xpu" and _FIRST_ARC.search(device.name) and weights > _LARGEST_ARC_BUFFER:
            yield Objection(
                text="UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY",
                why=f"{device.id} gives {format_bytes(_LARGEST_ARC_BUFFER)} at once; the weights are one buffer of {format_bytes(weights)}",
                next_step="take a mixture below 4 GiB, fewer --n-gpu-layers, or a build from b5000 on",
                limit=Limit.WEIGHTS,
            )
            return
