"""Kimi delta attention: a fixed state for each head, decayed channel by channel."""

from ullage.architectures._decoder import Widths
from ullage.architectures._experts import Attending
from ullage.architectures._recurrent import convolution, layer_kinds
from ullage.domain.architecture import Recurrent
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block
from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """Its heads, and whether the output gate is one projection instead of two thin ones."""

    heads: int
    head_dim: int
    kernel: int
    full_rank_gate: bool = False

    @property
    def inner(self) -> int:
        """All heads side by side."""
        return self.heads * self.head_dim


def linear_part(config: Hyperparameters, layers: int) -> tuple[Delta, tuple[str, ...]]:
    """The published files keep it in ``linear_attn_config`` and count layers from 1; the class has flat keys."""
    nested = config.child_or_none("linear_attn_config")
    flat = Delta(
        heads=config.integer_or("linear_num_heads", 32, low=1),
        head_dim=config.integer_or("linear_head_dim", 128, low=1),
        kernel=config.integer_or("linear_conv_kernel_dim", 4, low=1),
    )
    if config.has("layer_types"):
        each = layer_kinds(config, "layer_types", layers)
    elif nested is not None and nested.has("full_attn_layers"):
        attending = nested.integers("full_attn_layers")
        nested.ignore("kda_layers")
        each = tuple("full" if index + 1 in attending else "linear" for index in range(layers))
    else:
        each = tuple("full" if index and index % 4 == 0 else "linear" for index in range(layers))
    if nested is None:
        return flat, each
    heads, head_dim = nested.integer_or("num_heads", flat.heads, low=1), nested.integer_or("head_dim", flat.head_dim, low=1)
    nested.ignore("gate_lower_bound")
    return (
        Delta(
            heads=heads,
            head_dim=head_dim,
            kernel=nested.integer_or("short_conv_kernel_size", flat.kernel, low=1),
            full_rank_gate=nested.flag("use_full_rank_gate", default=False),
        ),
        each,
    )


def delta_attention(at: str, index: int, size: Widths, delta: Delta) -> Attending:
    """A gate per channel instead of per head, made by two thin projections; three convolutions of q, k and v."""
    inner = delta.inner
    mixer = Recurrent(
        kind="kimi_delta_attention",
        heads=delta.heads,
        conv_elements=(delta.kernel - 1) * 3 * inner,
        state_elements=inner * delta.head_dim,
        inner_dim=inner,
    )
    decay = _thin(f"{at}.f", index, size, inner, rank=delta.head_dim)
    gate = (
        block.linear(f"{at}.g_proj", Role.RECURRENT_IN, index, inner, size.hidden, size.fmt)
        if delta.full_rank_gate
        else _thin(f"{at}.g", index, size, inner, rank=delta.head_dim)
    )
    return mixer, (
        *(
            tensor
            for name in ("q", "k", "v")
            for tensor in (
                *block.linear(f"{at}.{name}_proj", Role.RECURRENT_IN, index, inner, size.hidden, size.fmt),
                *convolution(f"{at}.{name}_conv1d", index, size.fmt, channels=inner, kernel=delta.kernel, bias=False),
            )
        ),
        block.weight(f"{at}.A_log", Role.RECURRENT_STATE, index, (1, 1, delta.heads, 1), size.fmt),
        block.weight(f"{at}.dt_bias", Role.RECURRENT_STATE, index, (inner,), size.fmt),
        *block.linear(f"{at}.b_proj", Role.RECURRENT_IN, index, delta.heads, size.hidden, size.fmt),
        *decay,
        *gate,
        *block.norm(f"{at}.o_norm", index, delta.head_dim, size.fmt),
        *block.linear(f"{at}.o_proj", Role.RECURRENT_OUT, index, size.hidden, inner, size.fmt),
    )


def _thin(at: str, index: int, size: Widths, inner: int, *, rank: int) -> tuple[Tensor, ...]:
    """Down to one head's width, which every rank keeps whole, and up to all heads."""
    return (
        *block.linear(f"{at}_a_proj", Role.OTHER, index, rank, size.hidden, size.fmt),
        *block.linear(f"{at}_b_proj", Role.RECURRENT_IN, index, inner, rank, size.fmt),
    )
