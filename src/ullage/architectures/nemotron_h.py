"""Nemotron-H and Nemotron 3: each layer is one thing, a Mamba 2 mixer, attention, an MLP or experts."""

from collections.abc import Callable
from typing import Final

from ullage.architectures._decoder import Widths, decoder, widths
from ullage.architectures._dense import attention, full
from ullage.architectures._drafts import as_draft
from ullage.architectures._recurrent import Mamba2, ignore_inert, layer_kinds, state_dtype_of
from ullage.domain.architecture import DenseFeedForward, ExpertFeedForward, Layer
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError
from ullage.formulas import tensors as block
from ullage.frozen import replace

_LETTERS: Final = {"M": "linear", "*": "full", "-": "mlp", "E": "moe"}
_Build = Callable[[str, int], tuple[Layer, tuple[Tensor, ...]]]


def read(config: Hyperparameters) -> Blueprint:
    """No positions and no gates: MLP and experts have one input matrix."""
    ignore_inert(config)
    config.ignore("expand", "time_step_rank", "mlp_hidden_act", "mamba_hidden_act", "partial_rotary_factor", "moe_shared_expert_overlap")
    config.ignore("n_group", "mamba_proj_bias", "mamba_ssm_cache_dtype")  # the groups are the router's
    config.must_be("sliding_window", None)
    kinds = _kinds(config)
    head_dim = config.integer_or("attention_head_dim", 128, low=1)
    # The list of kinds counts the layers, as in the model class, even where num_hidden_layers says otherwise.
    size = replace(widths(config, dtype="bfloat16", kv_heads=8, head_dim=head_dim, layers=len(kinds)), layers=len(kinds))
    build = _builders(config, size, set(kinds))

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        return _layer(f"backbone.layers.{index}", index, size, build[kinds[index]])

    return decoder(
        config,
        size,
        layer=layer,
        prefix="backbone",
        table="embeddings",
        final_norm="norm_f",
        after=as_draft(_draft_layers(config, size)),
    )


def _kinds(config: Hyperparameters) -> tuple[str, ...]:
    """One letter or one word for each layer, and as many layers as there are."""
    if config.has("hybrid_override_pattern"):
        return _spelt(config, "hybrid_override_pattern")
    key = "layer_types" if config.has("layer_types") else "layers_block_type"
    return layer_kinds(config, key, None, mlp="mlp", moe="moe")


def _spelt(config: Hyperparameters, key: str) -> tuple[str, ...]:
    pattern = config.text(key)
    for letter in pattern:
        if letter not in _LETTERS:
            raise UnsupportedModelError(f"{key} has {letter!r}; only {' '.join(_LETTERS)} are known for this family")
    return tuple(_LETTERS[letter] for letter in pattern)


def _layer(at: str, index: int, size: Widths, build: _Build) -> tuple[Layer, tuple[Tensor, ...]]:
    outline, tensors = build(f"{at}.mixer", index)
    return outline, (*block.norm(f"{at}.norm", index, size.hidden, size.fmt), *tensors)


def _builders(config: Hyperparameters, size: Widths, needed: set[str]) -> dict[str, _Build]:
    """What builds a layer of each kind; the sizes of a kind are read only where it is used."""
    makers: dict[str, Callable[[Hyperparameters, Widths], _Build]] = {
        "linear": _mamba,
        "full": _attention,
        "mlp": _mlp,
        "moe": _experts,
    }
    config.ignore("intermediate_size", "n_groups", "moe_latent_size", "attention_bias")
    return {kind: makers[kind](config, size) for kind in sorted(needed)}


def _mamba(config: Hyperparameters, size: Widths) -> _Build:
    bias = config.flag("use_bias", default=False)
    spec = Mamba2(
        hidden=size.hidden,
        heads=config.integer_or("mamba_num_heads", 128, low=1),
        head_dim=config.integer_or("mamba_head_dim", 64, low=1),
        groups=config.integer_or("mamba_n_groups", config.integer_or("n_groups", 8, low=1), low=1),
        state=config.integer_or("ssm_state_size", 128, low=1),
        kernel=config.integer_or("mamba_d_conv", config.integer_or("conv_kernel", 4, low=1), low=1),
        in_bias=bias,
        out_bias=bias,
        conv_bias=config.flag("use_conv_bias", default=True),
        state_dtype=state_dtype_of(config, "mamba_ssm_cache_dtype", "float32"),
    )
    return lambda at, index: (Layer(mixers=(spec.mixer,), feed_forward=None), spec.tensors(at, index, size.fmt))


def _attention(_config: Hyperparameters, size: Widths) -> _Build:
    outline = Layer(mixers=(full(size),), feed_forward=None)
    return lambda at, index: (outline, attention(at, index, size))


def _mlp(config: Hyperparameters, size: Widths) -> _Build:
    width = config.integer_or("intermediate_size", 21504, low=1)
    bias = config.flag("mlp_bias", default=False)
    outline = Layer(mixers=(), feed_forward=DenseFeedForward(intermediate=width, gated=False))
    return lambda at, index: (
        outline,
        (
            *block.linear(f"{at}.up_proj", Role.UP, index, width, size.hidden, size.fmt, bias=bias),
            *block.linear(f"{at}.down_proj", Role.DOWN, index, size.hidden, width, size.fmt, bias=bias),
        ),
    )


def _experts(config: Hyperparameters, size: Widths) -> _Build:
    """Experts may work on a narrower latent than the model's width; router and shared expert do not."""
    kind = ExpertFeedForward(
        experts=config.integer_or("n_routed_experts", 8, low=1),
        experts_per_token=config.integer_or("num_experts_per_tok", 2, low=1),
        intermediate=config.integer_or("moe_intermediate_size", 7688, low=1),
        shared_intermediate=config.integer_or("moe_shared_expert_intermediate_size", 7688, low=1),
        gated=False,
    )
    config.must_be("n_shared_experts", 1)
    latent = config.integer_or("moe_latent_size", 0)
    bias = config.flag("mlp_bias", default=False)

    def build(at: str, index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        width, shared = latent or size.hidden, kind.shared_intermediate
        named = f"{at}.experts.{{expert}}"
        return Layer(mixers=(), feed_forward=kind), (
            *block.linear(f"{at}.gate", Role.ROUTER, index, kind.experts, size.hidden, size.fmt),
            *block.linear(f"{named}.up_proj", Role.EXPERT_UP, index, kind.intermediate, width, size.fmt, copies=kind.experts),
            *block.linear(f"{named}.down_proj", Role.EXPERT_DOWN, index, width, kind.intermediate, size.fmt, copies=kind.experts),
            *block.linear(f"{at}.shared_experts.up_proj", Role.SHARED_UP, index, shared, size.hidden, size.fmt, bias=bias),
            *block.linear(f"{at}.shared_experts.down_proj", Role.SHARED_DOWN, index, size.hidden, shared, size.fmt, bias=bias),
            *(_latent(at, index, size, latent, bias=bias) if latent else ()),
        )

    return build


def _latent(at: str, index: int, size: Widths, latent: int, *, bias: bool) -> tuple[Tensor, ...]:
    return (
        *block.linear(f"{at}.fc1_latent_proj", Role.EXPERT_LATENT, index, latent, size.hidden, size.fmt, bias=bias),
        *block.linear(f"{at}.fc2_latent_proj", Role.EXPERT_LATENT, index, size.hidden, latent, size.fmt, bias=bias),
    )


def _draft_layers(config: Hyperparameters, size: Widths) -> tuple[Tensor, ...]:
    """The layers of the draft head: the first joins embedding and hidden state, the last has a norm of its own."""
    count = config.integer_or("num_nextn_predict_layers", 0)
    config.ignore("mtp_hybrid_override_pattern", "mtp_layers_block_type")
    if count == 0:
        return ()
    if config.has("mtp_hybrid_override_pattern"):
        kinds = _spelt(config, "mtp_hybrid_override_pattern")
    elif config.has("mtp_layers_block_type"):
        kinds = layer_kinds(config, "mtp_layers_block_type", None, mlp="mlp", moe="moe")
    else:
        kinds = ("full", "moe")
    build = _builders(config, size, set(kinds))
    tensors: list[Tensor] = []
    for index, kind in enumerate(kinds * count):
        at = f"mtp.layers.{index}"
        tensors.extend(_layer(at, index, size, build[kind])[1])
        if index % len(kinds) == 0:
            tensors.extend(block.linear(f"{at}.eh_proj", Role.MTP, None, size.hidden, 2 * size.hidden, size.fmt))
            tensors.extend(tensor for name in ("enorm", "hnorm") for tensor in block.norm(f"{at}.{name}", None, size.hidden, size.fmt))
        if index % len(kinds) == len(kinds) - 1:
            tensors.extend(block.norm(f"{at}.final_layernorm", None, size.hidden, size.fmt))
    return tuple(tensors)


FAMILY = Family(model_types=("nemotron_h",), read=read, title="Nemotron-H and Nemotron 3")
