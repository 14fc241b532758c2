"""Step 3.7: windows and full layers with a gate for each head, experts after the first layers, drafts, and a vision tower."""

from dataclasses import dataclass, replace
from typing import Final

from ullage.architectures._decoder import Spelling, Widths, decoder, widths
from ullage.architectures._dense import attention, full, qk_norms, sliding
from ullage.architectures._drafts import next_token_layers
from ullage.architectures._experts import Mixture
from ullage.architectures._rotary import rotary
from ullage.architectures._tower import UNSIZED, Tensors, channels, linear, norm, patch_grid, two_step_mlp, weight
from ullage.architectures._wrapped import part, text_format, text_part, wrapped
from ullage.domain.architecture import DenseFeedForward, FeedForward, Layer
from ullage.domain.checkpoint import Role, Tensor, TensorFormat
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError
from ullage.formulas import tensors as block

_TOKENS: Final = 128_815  # rows of the class's token table: transformers, configuration_step3p7.py
_PADDING: Final = 128
_SPELLING: Final = Spelling(kv_heads=("num_key_value_heads", "num_attention_groups"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """The text configuration, read once; ``windowed`` is the size with the heads that sliding layers have."""

    size: Widths
    windowed: Widths
    kinds: tuple[str, ...]  # drafts after the decoder's layers may be listed too
    window: int
    intermediate: int
    sparse: frozenset[int]
    mixture: Mixture


def _read_text(config: Hyperparameters) -> _Text:
    size = widths(config, head_dim=128, kv_heads=8, positions=128_000, spelling=_SPELLING)
    size = replace(size, vocab=_rows(size.vocab))
    dense = config.integer_or("first_k_dense_replace", 3)
    listed = config.text_or("moe_layers_enum", "")
    experts = config.first_integer("n_routed_experts", "num_experts", "moe_num_experts", "num_local_experts")
    kinds = config.words("layer_types") if config.has("layer_types") else ("full_attention",)
    config.ignore(
        "sliding_window", "n_shared_experts", "use_moe_router_bias", "moe_router_scaling_factor", "swiglu_limits", "swiglu_limits_shared"
    )
    return _Text(
        size=size,
        windowed=_windowed(config, size),
        kinds=kinds,
        window=config.integer("sliding_window") if "sliding_attention" in kinds else 0,
        intermediate=config.integer("intermediate_size"),
        sparse=frozenset(int(word) for word in listed.split(",")) if listed else frozenset(range(dense, size.layers)),
        mixture=Mixture(
            experts=experts,
            per_token=config.first_integer("num_experts_per_tok", "moe_top_k"),
            intermediate=config.integer("moe_intermediate_size"),
            shared=config.first_integer("share_expert_dim", "share_expert_dims"),
        ),
    )


def _rows(vocab: int) -> int:
    """Rows of the token table. Flat files state the class's vocabulary rounded up to a multiple of 128; the table is not."""
    padded = -(-_TOKENS // _PADDING) * _PADDING
    return _TOKENS if vocab == padded else vocab


def _windowed(config: Hyperparameters, size: Widths) -> Widths:
    other = config.child_or_none("attention_other_setting")
    if other is None:
        return replace(size, query_heads=config.integer_or("num_sliding_attention_heads", size.query_heads, low=1))
    other.ignore("attention_type")
    return replace(
        size,
        query_heads=other.integer_or("num_attention_heads", size.query_heads, low=1),
        kv_heads=other.integer_or("num_attention_groups", size.kv_heads, low=1),
        head_dim=other.integer_or("head_dim", size.head_dim, low=1),
    )


def _feed(text: _Text, at: str, index: int) -> tuple[FeedForward, tuple[Tensor, ...]]:
    """Router, one stacked tensor for each of gate, up and down, and the shared expert; or a plain MLP."""
    size, mixture = text.size, text.mixture
    if index not in text.sparse:
        mlp = block.gated_mlp(f"{at}.mlp", index, size.fmt, hidden=size.hidden, intermediate=text.intermediate)
        return DenseFeedForward(intermediate=text.intermediate), mlp
    width, copies = mixture.intermediate, mixture.experts
    return mixture.outline, (
        *block.linear(f"{at}.moe.gate", Role.ROUTER, index, copies, size.hidden, size.fmt),
        *block.linear(f"{at}.moe.gate_proj", Role.EXPERT_GATE, index, width, size.hidden, size.fmt, copies=copies),
        *block.linear(f"{at}.moe.up_proj", Role.EXPERT_UP, index, width, size.hidden, size.fmt, copies=copies),
        *block.linear(f"{at}.moe.down_proj", Role.EXPERT_DOWN, index, size.hidden, width, size.fmt, copies=copies),
        *block.shared_expert(f"{at}.share_expert", index, size.fmt, hidden=size.hidden, intermediate=mixture.shared),
    )


def _layer(text: _Text, index: int) -> tuple[Layer, tuple[Tensor, ...]]:
    at = f"model.layers.{index}"
    kind = text.kinds[min(index, len(text.kinds) - 1)]
    slides = kind == "sliding_attention"
    if not slides and kind != "full_attention":
        raise UnsupportedModelError(f"layer_types names {kind!r}; only full_attention and sliding_attention are known for this family")
    size = text.windowed if slides else text.size
    feed_forward, fed = _feed(text, at, index)
    attn = f"{at}.self_attn"
    return Layer(mixers=(sliding(size, text.window) if slides else full(size),), feed_forward=feed_forward), (
        *attention(attn, index, size),
        *qk_norms(attn, index, size, "head"),
        *block.linear(f"{attn}.g_proj", Role.ATTENTION_OTHER, index, size.query_heads, size.hidden, size.fmt),
        *fed,
        *block.norm(f"{at}.input_layernorm", index, size.hidden, size.fmt),
        *block.norm(f"{at}.post_attention_layernorm", index, size.hidden, size.fmt),
    )


def _text(config: Hyperparameters) -> Blueprint:
    text = _read_text(config)
    drafts = next_token_layers(
        config.integer_or("num_nextn_predict_layers", 0), text.size, lambda index: _layer(text, index), own_head=True
    )
    tables = rotary(config, text.size.head_dim, text.size.positions)
    return decoder(config, text.size, layer=lambda index: _layer(text, index), rotary_tables=tables, after=drafts)


def _tower(config: Hyperparameters, fmt: TensorFormat, *, hidden: int) -> Tensors:
    """Learned positions, scaled residual sums, and two convolutions that halve the grid and double the width."""
    width = config.integer_or("width", config.integer_or("hidden_size", 1536, low=1), low=1)
    side, patches = patch_grid(config, image=728, patch=14)
    config.ignore(*UNSIZED, "heads", "intermediate_size", "layer_scale_init_value", "ls_init_value", "max_position_embeddings")
    layers = config.integer_or("layers", config.integer_or("num_hidden_layers", 47, low=1), low=1)
    intermediate = int(width * config.number_or("mlp_ratio", 8960 / 1536))
    at = "vision_model"
    return (
        *weight(f"{at}.conv1.weight", fmt, width, channels(config), side, side),
        *weight(f"{at}.positional_embedding", fmt, patches**2, width),
        *norm(f"{at}.ln_pre", width, fmt),
        *(tensor for index in range(layers) for tensor in _tower_block(f"{at}.transformer.resblocks.{index}", width, intermediate, fmt)),
        *weight(f"{at}.vit_downsampler1.weight", fmt, 2 * width, width, 3, 3),
        *weight(f"{at}.vit_downsampler1.bias", fmt, 2 * width),
        *weight(f"{at}.vit_downsampler2.weight", fmt, 4 * width, 2 * width, 3, 3),
        *weight(f"{at}.vit_downsampler2.bias", fmt, 4 * width),
        *linear("vit_large_projector", hidden, 4 * width, fmt, bias=False, role=Role.PROJECTOR),
    )


def _tower_block(at: str, width: int, intermediate: int, fmt: TensorFormat) -> Tensors:
    return (
        *norm(f"{at}.ln_1", width, fmt),
        *weight(f"{at}.attn.in_proj_weight", fmt, 3 * width, width),
        *weight(f"{at}.attn.in_proj_bias", fmt, 3 * width),
        *linear(f"{at}.attn.out_proj", width, width, fmt),
        *weight(f"{at}.ls_1.gamma", fmt, width),
        *norm(f"{at}.ln_2", width, fmt),
        *two_step_mlp(f"{at}.mlp", width, intermediate, fmt, names=("c_fc", "c_proj")),
        *weight(f"{at}.ls_2.gamma", fmt, width),
    )


def read(config: Hyperparameters) -> Blueprint:
    """A flat configuration, or one with ``text_config``; the tower may be left to the class."""
    text = _text(text_part(config))
    vision = part(config, "vision_config")
    _, patches = patch_grid(vision, image=728, patch=14)
    config.must_be("projector_bias", False)
    config.ignore("image_token_id", "understand_projector_stride", "image_token_len", "patch_token_len")
    return wrapped(
        config,
        text,
        tower=_tower(vision, text_format(text), hidden=text.architecture.hidden_size),
        encoder_tokens=(patches // 4) ** 2,  # of the whole image; how many windows are cut besides, config.json does not say
    )


FAMILY = Family(model_types=("step3p7",), read=read, title="Step 3.7 Flash")
