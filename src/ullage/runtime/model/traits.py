"""What a family computes beyond its shape: norms, activations, rotary positions, scales and caps, routing.

The shape (layers, heads, widths, windows) is the `Architecture`; which biases and norms there are is seen from the tensors.
"""

from enum import StrEnum

from ullage.frozen import dataclass

CLAMP_LIMIT, CLAMP_ALPHA = 7.0, 1.702  # of gpt-oss's gate


class Norm(StrEnum):
    """How a norm divides."""

    RMS = "rms"
    RMS_PLUS_ONE = "rms plus one"  # the stored weight is added to one (Gemma)
    LAYER = "layer"


class Activation(StrEnum):
    """The non-linearity of a feed-forward."""

    SILU = "silu"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    CLAMPED_SWIGLU = "clamped swiglu"  # gpt-oss: gate clamped above, up clamped on both sides and moved by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotary:
    """Rotary positions: one frequency per pair of elements, and what cosines and sines are multiplied by."""

    dim: int  # elements of a head that turn, from its beginning
    frequencies: tuple[float, ...]  # dim // 2 of them, radians per token
    magnitude: float = 1.0
    interleaved: bool = False  # pairs are neighbours instead of halves


class Scoring(StrEnum):
    """How router logits become weights."""

    SOFTMAX = "softmax"  # over all experts, then the best are picked
    SOFTMAX_PICKED = "softmax of the picked"  # the best logits are picked, then the softmax is over them
    SIGMOID = "sigmoid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Which experts a token goes to and with what weight."""

    scoring: Scoring
    normalised: bool  # the weights of the picked experts add up to one
    factor: float = 1.0  # what they are multiplied by
    groups: int = 1  # experts are picked from the best ``picked_groups`` of so many groups
    picked_groups: int = 1
    group_score: int = 1  # how many best experts of a group make its score
    in_float: bool = False  # logits are computed in float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What one family computes. Absent numbers are those of the plain decoder."""

    norm: Norm
    epsilon: float
    activation: Activation
    rotary: Rotary | None
    local_rotary: Rotary | None = None  # of the layers with a window, where it differs
    attention_scale: float | None = None  # None: one over the root of the key width
    attention_softcap: float | None = None
    final_softcap: float | None = None
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    parallel: bool = False  # attention and feed-forward both read the same norm, and are added together
    routing: Routing | None = None
    length_temperature_from: int | None = None  # dual chunk attention: the length past which logits are sharpened
    unrotated_layers: frozenset[int] = frozenset()
