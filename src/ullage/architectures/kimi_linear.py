"""Kimi Linear: Kimi delta attention, one latent attention layer in four, experts after a dense first layer."""

from dataclasses import dataclass

from ullage.architectures._decoder import Spelling, Widths, decoder, widths
from ullage.architectures._experts import Attending, Built, Mixture, dense, pre_norm, routed
from ullage.architectures._mla import dense_layers, latent_attention, latent_widths
from ullage.architectures._recurrent import convolution, layer_kinds
from ullage.domain.architecture import Recurrent
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block

_UNSIZED = (
    "head_dim",
    "mla_use_nope",
    "moe_layer_freq",
    "moe_renormalize",
    "moe_router_activation_func",
    "n_group",
    "num_expert_group",
    "num_key_value_heads",
    "use_grouped_topk",
)


_SPELLING = Spelling(positions=("max_position_embeddings", "model_max_length"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Delta:
    heads: int
    head_dim: int
    kernel: int

    @property
    def inner(self) -> int:
        return self.heads * self.head_dim


def read(config: Hyperparameters) -> Blueprint:
    """No layer has rotary positions, though the latent keys keep the rotary part's width."""
    config.ignore(*_UNSIZED)
    config.must_be("num_nextn_predict_layers", 0)
    size = widths(config, dtype="bfloat16", spelling=_SPELLING)
    latent = latent_widths(config)
    delta, each = _linear_part(config, size.layers)
    plain = dense_layers(config, size.layers, 1)
    experts = _mixture(config)
    intermediate = config.integer_or("intermediate_size", 9216, low=1)

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        own = f"{at}.self_attn"
        attending = latent_attention(own, index, size, latent) if each[index] == "full" else _delta_attention(own, index, size, delta)
        feeding = (
            dense(f"{at}.mlp", index, size, intermediate) if index in plain else routed(f"{at}.block_sparse_moe", index, size, experts)
        )
        return pre_norm(at, index, size, attending, feeding)

    return decoder(config, size, layer=layer)


def _linear_part(config: Hyperparameters, layers: int) -> tuple[_Delta, tuple[str, ...]]:
    """The published files keep it in ``linear_attn_config`` and count layers from 1; the class has flat keys."""
    nested = config.child_or_none("linear_attn_config")
    flat = _Delta(
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
    return _Delta(heads=heads, head_dim=head_dim, kernel=nested.integer_or("short_conv_kernel_size", flat.kernel, low=1)), each


def _mixture(config: Hyperparameters) -> Mixture:
    width = config.integer_or("moe_intermediate_size", 1024, low=1)
    count = next((config.integer(key) for key in ("num_local_experts", "num_experts") if config.has(key)), 256)
    used = next((config.integer(key) for key in ("num_experts_per_tok", "num_experts_per_token") if config.has(key)), 8)
    shared = next((config.integer(key) for key in ("n_shared_experts", "num_shared_experts") if config.has(key)), 1)
    return Mixture(experts=count, per_token=used, intermediate=width, shared=width * shared, names=block.NUMBERED)


def _delta_attention(at: str, index: int, size: Widths, delta: _Delta) -> Attending:
    """A gate per channel instead of per head, made by two thin projections; three convolutions of q, k and v."""
    inner = delta.inner
    mixer = Recurrent(
        kind="kimi_delta_attention",
        heads=delta.heads,
        conv_elements=(delta.kernel - 1) * 3 * inner,
        state_elements=inner * delta.head_dim,
        inner_dim=inner,
    )
    thin = (tensor for name in ("f", "g") for tensor in _thin(f"{at}.{name}", index, size, inner, rank=delta.head_dim))
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
        *thin,
        *block.norm(f"{at}.o_norm", index, delta.head_dim, size.fmt),
        *block.linear(f"{at}.o_proj", Role.RECURRENT_OUT, index, size.hidden, inner, size.fmt),
    )


def _thin(at: str, index: int, size: Widths, inner: int, *, rank: int) -> tuple[Tensor, ...]:
    """Down to one head's width, which every rank keeps whole, and up to all heads."""
    return (
        *block.linear(f"{at}_a_proj", Role.OTHER, index, rank, size.hidden, size.fmt),
        *block.linear(f"{at}_b_proj", Role.RECURRENT_IN, index, inner, rank, size.fmt),
    )


FAMILY = Family(model_types=("kimi_linear",), read=read, title="Kimi Linear")
