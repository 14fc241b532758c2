"""The weights as they lie in a file: tensors, their shapes and their formats."""

from enum import StrEnum
from functools import cached_property
from math import prod
from typing import Final

from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorFormat:
    """How elements become bytes: ``block_elements`` elements take ``block_bytes`` bytes (64 weights in 34 bytes)."""

    name: str
    block_elements: int
    block_bytes: int

    def nbytes(self, elements: int) -> int:
        """Bytes of ``elements`` elements, whole blocks."""
        return -(-elements // self.block_elements) * self.block_bytes


class Role(StrEnum):
    """What a tensor does in the model; engines decide from it how the tensor divides over devices."""

    EMBEDDING = "embedding"  # token table, shape (vocab, hidden)
    HEAD = "head"  # output projection, shape (vocab, hidden)
    POSITION = "position"  # learned positions
    NORM = "norm"  # every norm weight or bias
    Q = "q"  # (query_heads * key_dim, hidden)
    K = "k"  # (kv_heads * key_dim, hidden)
    V = "v"  # (kv_heads * value_dim, hidden)
    QKV = "qkv"  # fused projection
    O = "o"  # (hidden, query_heads * value_dim)  # noqa: E741 - the field's own letter
    Q_A = "q_a"  # MLA: hidden -> query latent
    Q_B = "q_b"  # MLA: query latent -> heads
    KV_A = "kv_a"  # MLA: hidden -> latent + rope
    KV_B = "kv_b"  # MLA: latent -> heads
    INDEXER = "indexer"  # sparse attention's own projections
    ATTENTION_OTHER = "attention_other"  # sinks, gates, per-head scalars
    GATE = "gate"  # dense MLP, (intermediate, hidden)
    UP = "up"
    GATE_UP = "gate_up"
    DOWN = "down"  # (hidden, intermediate)
    ROUTER = "router"
    EXPERT_GATE = "expert_gate"  # one expert's matrix; Tensor.copies counts the experts
    EXPERT_UP = "expert_up"
    EXPERT_GATE_UP = "expert_gate_up"
    EXPERT_DOWN = "expert_down"
    EXPERT_LATENT = "expert_latent"  # hidden <-> the narrower width routed experts work on; every rank keeps it whole
    SHARED_GATE = "shared_gate"  # shared (always active) expert
    SHARED_UP = "shared_up"
    SHARED_DOWN = "shared_down"
    SHARED_ROUTER = "shared_router"
    RECURRENT_IN = "recurrent_in"  # Mamba / linear attention input projections
    RECURRENT_OUT = "recurrent_out"
    RECURRENT_CONV = "recurrent_conv"
    RECURRENT_STATE = "recurrent_state"  # A_log, D, dt_bias ...
    VISION = "vision"  # any tensor of a vision or audio tower
    PROJECTOR = "projector"  # tower -> text
    MTP = "mtp"  # draft / multi-token-prediction layers: in the checkpoint, not in the parameter count
    OTHER = "other"


class Part(StrEnum):
    """What a stored tensor holds of its weight."""

    WEIGHT = "weight"
    BIAS = "bias"
    SCALE = "scale"
    ZERO = "zero"
    INDEX = "index"


# Weights that multiply activations: what a quantisation scheme may touch. Embeddings and routers are added by the schemes that do.
LINEAR_ROLES: Final = frozenset(
    {
        Role.Q,
        Role.K,
        Role.V,
        Role.QKV,
        Role.O,
        Role.Q_A,
        Role.Q_B,
        Role.KV_A,
        Role.KV_B,
        Role.INDEXER,
        Role.GATE,
        Role.UP,
        Role.GATE_UP,
        Role.DOWN,
        Role.EXPERT_GATE,
        Role.EXPERT_UP,
        Role.EXPERT_GATE_UP,
        Role.EXPERT_DOWN,
        Role.EXPERT_LATENT,
        Role.SHARED_GATE,
        Role.SHARED_UP,
        Role.SHARED_DOWN,
        Role.RECURRENT_IN,
        Role.RECURRENT_OUT,
    }
)
EXPERT_ROLES: Final = frozenset({Role.EXPERT_GATE, Role.EXPERT_UP, Role.EXPERT_GATE_UP, Role.EXPERT_DOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor, or ``copies`` tensors alike (the experts of a layer).

    ``shape`` is as PyTorch stores it: a linear weight is (out_features, in_features). ``layer`` counts from 0 over the layers
    of the text decoder and is None for what belongs to no layer. ``name`` is the checkpoint's name; ``{expert}`` stands for the copy.
    """

    name: str
    role: Role
    layer: int | None
    shape: tuple[int, ...]
    format: TensorFormat
    copies: int = 1
    part: Part = Part.WEIGHT

    @property
    def elements(self) -> int:
        """Elements of all copies."""
        return prod(self.shape) * self.copies

    @property
    def nbytes(self) -> int:
        """Bytes of all copies; a format's blocks never cross a row (the last dimension)."""
        if not self.shape:
            return self.format.nbytes(1) * self.copies
        rows = prod(self.shape[:-1])
        return rows * self.format.nbytes(self.shape[-1]) * self.copies

    @property
    def is_linear(self) -> bool:
        """Whether this is the weight matrix of a linear layer."""
        return self.role in LINEAR_ROLES and self.part is Part.WEIGHT and len(self.shape) >= 2  # noqa: PLR2004 - a matrix


@dataclass(frozen=True, eq=False, kw_only=True)
class Checkpoint:
    """All tensors of a model as stored. Compared by identity: two readings are two checkpoints."""

    tensors: tuple[Tensor, ...]
    scheme: str  # "bf16", "awq 4-bit g128", ...: what a person would call it
    exact: bool  # from file headers (True) or by rule from a configuration (False)

    def __repr__(self) -> str:
        """Short, as there are hundreds of tensors."""
        return f"<Checkpoint as {self.scheme}: {len(self.tensors)} tensors, {self.nbytes} bytes>"

    @cached_property
    def nbytes(self) -> int:
        """Bytes of everything in the file, draft layers included."""
        return sum(tensor.nbytes for tensor in self.tensors)
