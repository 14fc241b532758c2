"""The modules of a decoder in the order engines load them: attention and MLP of each layer, the last norm, the head."""

from enum import StrEnum
from functools import lru_cache

from ullage.catalog.tensor_formats import BF16, F16, F32, F64, model_dtype
from ullage.domain.architecture import Architecture
from ullage.domain.case import Model
from ullage.domain.checkpoint import EXPERT_ROLES, Part, Role, Tensor
from ullage.frozen import dataclass

_HALF = 2  # bytes of a float once loaded: engines that compute in 16 bits convert wider ones
_WIDE = frozenset({F32, F64})
_PLAIN = frozenset({F16, BF16, F32, F64})
_FEED_FORWARD = frozenset(
    {
        Role.GATE,
        Role.UP,
        Role.GATE_UP,
        Role.DOWN,
        Role.ROUTER,
        Role.EXPERT_LATENT,
        Role.SHARED_GATE,
        Role.SHARED_UP,
        Role.SHARED_DOWN,
        Role.SHARED_ROUTER,
        *EXPERT_ROLES,
    }
)
_ELSEWHERE = frozenset({Role.MTP, Role.VISION, Role.PROJECTOR})  # loaded apart from the text model, if at all
_ON_HOST = frozenset({Role.EMBEDDING, Role.POSITION})
_AFTER_ATTENTION = ("post_attention", "pre_feedforward", "post_feedforward", "post_mlp", "ffn_norm", "ln_2", "mlp")


class BlockKind(StrEnum):
    """What a module does."""

    ATTENTION = "attention"
    FEED_FORWARD = "mlp"
    NORM = "norm"
    HEAD = "head"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One module: its bytes once loaded, those of its routed experts among them, and its inputs per quantised matrix added up."""

    kind: BlockKind
    layer: int | None
    nbytes: int
    expert_bytes: int = 0
    quantised: bool = False
    index_rows: int = 0  # rows of the permutation that some formats store


def loaded_bytes(tensor: Tensor) -> int:
    """Bytes in 16-bit memory: wider floats are converted, everything else stays as stored."""
    return tensor.elements * _HALF if tensor.format in _WIDE and tensor.part is not Part.SCALE else tensor.nbytes


def _kind(tensor: Tensor) -> BlockKind:
    if tensor.role is Role.HEAD:
        return BlockKind.HEAD
    if tensor.layer is None:
        return BlockKind.NORM
    if tensor.role in _FEED_FORWARD:
        return BlockKind.FEED_FORWARD
    after = tensor.role is Role.NORM and any(word in tensor.name for word in _AFTER_ATTENTION)
    return BlockKind.FEED_FORWARD if after else BlockKind.ATTENTION


@lru_cache(maxsize=64)
def blocks(model: Model, tied_head_bits: int) -> tuple[Block, ...]:
    """Every module but the token table, in load order. A tied head is a copy of the table in ``tied_head_bits`` bits a weight."""
    found: dict[tuple[int, str], list[Tensor]] = {}
    layers = len(model.architecture.layers)
    for layer in range(layers):
        found[layer, BlockKind.ATTENTION], found[layer, BlockKind.FEED_FORWARD] = [], []
    for kind in (BlockKind.NORM, BlockKind.HEAD):
        found[layers, kind] = []
    for tensor in model.checkpoint.tensors:
        if tensor.role not in _ELSEWHERE | _ON_HOST:
            found[layers if tensor.layer is None else tensor.layer, _kind(tensor)].append(tensor)
    made = [_block(BlockKind(kind), None if at == layers else at, tensors) for (at, kind), tensors in found.items()]
    return tuple(_tied(block, model.architecture, tied_head_bits) if block.kind is BlockKind.HEAD else block for block in made)


def _block(kind: BlockKind, layer: int | None, tensors: list[Tensor]) -> Block:
    return Block(
        kind=kind,
        layer=layer,
        nbytes=sum(loaded_bytes(tensor) for tensor in tensors),
        expert_bytes=sum(loaded_bytes(tensor) for tensor in tensors if tensor.role in EXPERT_ROLES),
        quantised=any(tensor.format not in _PLAIN for tensor in tensors),
        index_rows=sum(tensor.elements for tensor in tensors if tensor.name.endswith("q_invperm")),
    )


def _tied(head: Block, architecture: Architecture, bits: int) -> Block:
    if head.nbytes or not architecture.tied_embeddings:
        return head
    nbytes = architecture.vocab_size * architecture.hidden_size * bits // 8
    return Block(kind=BlockKind.HEAD, layer=None, nbytes=nbytes, quantised=bits < model_dtype("float16").block_bytes * 8)


@lru_cache(maxsize=64)
def table_bytes(model: Model) -> int:
    """The token table (and learned positions), which these engines keep on the host in 16 bits."""
    return sum(loaded_bytes(tensor) for tensor in model.checkpoint.tensors if tensor.role in _ON_HOST)
