"""What one GPU of the SGLang fork holds of the weights, and what the host holds of the routed experts."""

from functools import lru_cache

from ullage.catalog.tensor_formats import BF16
from ullage.domain.architecture import ExpertFeedForward
from ullage.domain.case import Case, Model
from ullage.domain.checkpoint import EXPERT_ROLES, Part, Role, Tensor, TensorFormat
from ullage.engines.ktransformers.placement import GGUF_BLOCKS, PLAIN, expert_bytes, plain_tensors
from ullage.formulas.loaded import as_loaded, unfolded_bytes
from ullage.formulas.sharding import Degrees, ceil_div, shard_bytes
from ullage.frozen import dataclass, replace

# Host formats of kt-kernel. Scales: AMX keeps one of 32 bits a row (counted as one for 1024 weights); RAWINT4 16 bits for 32 weights.
_HOST_FORMATS = {
    "AMXINT4": TensorFormat(name="int4, a 32-bit scale a row", block_elements=1024, block_bytes=516),
    "AMXINT8": TensorFormat(name="int8, a 32-bit scale a row", block_elements=1024, block_bytes=1028),
    "RAWINT4": TensorFormat(name="int4, a 16-bit scale for 32 weights", block_elements=32, block_bytes=18),
    "FP8": TensorFormat(name="fp8, a 32-bit scale for 128 x 128 weights", block_elements=16384, block_bytes=16388),
    "BF16": BF16,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Bytes of one rank without routed experts, and of one routed expert in every expert layer; the largest layer's experts whole."""

    fixed: int
    one_expert: int
    whole_layer: int
    experts: int
    layers: int


def gpu_tensors(model: Model) -> tuple[Tensor, ...]:
    """The tensors as the GPU loads them: of a GGUF model the unquantised ones, since GGUF is for the host only."""
    stored = model.checkpoint.tensors
    if not any(tensor.format.name in GGUF_BLOCKS for tensor in stored):
        return stored
    return tuple(tensor if tensor.format.name in PLAIN else replace(tensor, format=BF16) for tensor in plain_tensors(model))


def weights(case: Case) -> Weights:
    """The weights of one rank of the case."""
    return _weights(case.model, case.parallel.tensor)


@lru_cache(maxsize=64)
def _weights(model: Model, tensor: int) -> Weights:
    dtype = "bfloat16" if model.architecture.dtype == "float32" else model.architecture.dtype
    degrees, fixed, one, layers = Degrees(tensor=tensor, expert=tensor, whole_experts=False), 0, 0, model.architecture.layers
    whole = [0] * len(layers)
    for stored in gpu_tensors(model):
        if stored.role is Role.MTP:
            continue
        known = as_loaded(stored, dtype)
        layer = layers[known.layer] if known.layer is not None and known.layer < len(layers) else None
        nbytes = shard_bytes(known, layer, degrees)
        if known.role in EXPERT_ROLES and known.layer is not None:
            one += ceil_div(nbytes, max(1, _experts(model, known.layer)))
            whole[known.layer] += known.nbytes
        else:
            fixed += nbytes
    mixers = tuple(mixer for layer in layers for mixer in layer.mixers)
    return Weights(
        fixed=fixed + unfolded_bytes(mixers, tensor, 2),
        one_expert=one,
        whole_layer=max(whole, default=0),
        experts=max((_experts(model, index) for index in range(len(layers))), default=0),
        layers=sum(1 for nbytes in whole if nbytes),
    )


def _experts(model: Model, layer: int) -> int:
    feed = model.architecture.layers[layer].feed_forward
    return feed.experts if isinstance(feed, ExpertFeedForward) else 0


def gpu_experts(case: Case) -> int:
    """Routed experts of a layer on the GPU; the ratio counts before the number."""
    known, ratio = weights(case), case.settings.number("kt_gpu_experts_ratio")
    asked = int(known.experts * ratio) if ratio is not None else case.settings.integer("kt_num_gpu_experts") or 0
    return min(asked, known.experts)


def gpu_bytes(case: Case) -> int:
    """All weights of one rank."""
    known = weights(case)
    return known.fixed + gpu_experts(case) * known.one_expert


def stored_method(model: Model) -> str:
    """The host format that needs no conversion."""
    formats = {tensor.format.name for tensor in model.checkpoint.tensors if tensor.role in EXPERT_ROLES}
    if formats <= PLAIN:
        return "BF16"
    if any(name.startswith("float8") for name in formats):
        return "FP8"
    return "LLAMAFILE" if formats <= PLAIN | GGUF_BLOCKS else "RAWINT4"


def host_bytes(case: Case) -> int:
    """All routed experts in the host's format; those on the GPU have their room here too."""
    method = case.settings.text("kt_method") or "BF16"
    if method == "LLAMAFILE":
        return sum(expert_bytes(case.model, case.settings.text("gguf_type")))
    if method == stored_method(case.model):
        return sum(tensor.nbytes for tensor in case.model.checkpoint.tensors if tensor.role in EXPERT_ROLES)
    fmt = _HOST_FORMATS[method]
    return sum(fmt.nbytes(t.elements) for t in plain_tensors(case.model) if t.role in EXPERT_ROLES and t.part is Part.WEIGHT)
