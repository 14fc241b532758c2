"""What one rank keeps of a checkpoint once it is loaded: bytes of each layer, of the first and of the last stage, and tables."""

from collections.abc import Callable

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.architecture import LatentAttention, Mixer
from ullage.domain.case import Model
from ullage.domain.checkpoint import Part, Role, Tensor
from ullage.formulas.sharding import Degrees, ceil_div, shard_bytes
from ullage.frozen import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Bytes of one rank: of every layer, of what the first and the last pipeline stage add, and of draft layers."""

    layers: tuple[int, ...]
    first: int
    last: int
    draft: int

    def of_stage(self, start: int, end: int, *, stage: int, stages: int) -> int:
        """Bytes of the stage that has the layers from ``start`` to before ``end``; without draft layers."""
        return sum(self.layers[start:end]) + (self.first if stage == 0 else 0) + (self.last if stage == stages - 1 else 0)


def loaded(model: Model, *, stages: int, dtype: str, towers: bool, degrees: Callable[[Tensor], Degrees]) -> Loaded:
    """The checkpoint on one rank; ``degrees`` says how far a tensor is cut, ``towers`` whether vision and audio are loaded."""
    architecture = model.architecture
    layers, first, last, draft = [0] * len(architecture.layers), 0, 0, 0
    for tensor in model.checkpoint.tensors:
        layer = architecture.layers[tensor.layer] if tensor.layer is not None and tensor.layer < len(architecture.layers) else None
        nbytes = shard_bytes(as_loaded(tensor, dtype), layer, degrees(tensor))
        if tensor.role is Role.MTP:
            draft += nbytes
        elif tensor.layer is not None:
            layers[tensor.layer] += nbytes
        elif tensor.role in {Role.VISION, Role.PROJECTOR}:
            first += nbytes if towers else 0
        elif tensor.role in {Role.EMBEDDING, Role.POSITION}:
            first += nbytes
            last += nbytes if tensor.role is Role.EMBEDDING and architecture.tied_embeddings and stages > 1 else 0
        else:
            last += nbytes
    return Loaded(layers=tuple(layers), first=first, last=last, draft=draft)


def as_loaded(tensor: Tensor, dtype: str) -> Tensor:
    """Plain floating-point weights are loaded in the activation dtype; packed ones and scales keep their own format."""
    if tensor.part not in {Part.WEIGHT, Part.BIAS} or tensor.format.name not in {"bfloat16", "float16", "float32"}:
        return tensor
    wanted = model_dtype(dtype)
    return tensor if tensor.format.block_bytes == wanted.block_bytes else replace(tensor, format=wanted)


def unfolded_bytes(mixers: tuple[Mixer, ...], tensor: int, element: int) -> int:
    """W_UV and W_UK_T of MLA, made after loading beside kv_b_proj: heads/tp x latent x (nope + value) elements."""
    return sum(
        ceil_div(mixer.query_heads, tensor) * mixer.latent_dim * (mixer.nope_dim + mixer.value_dim) * element
        for mixer in mixers
        if isinstance(mixer, LatentAttention)
    )


def rotary_bytes(model: Model, *, element: int, dual_chunk: bool) -> int:
    """Rotary tables. Dual chunk attention keeps four more chunks of positions (five tables over one pool of rows)."""
    architecture = model.architecture
    dual = architecture.dual_chunk
    extra = 4 * dual.step_tokens if dual is not None and dual_chunk else 0
    return sum(table.dim * (table.positions + extra) * element for table in architecture.rotary)
