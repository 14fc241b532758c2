"""Llama 4: chunked attention in three of four layers, full attention without positions in the fourth, and experts."""

from typing import Final

from ullage.architectures._decoder import Widths, decoder, widths
from ullage.architectures._dense import attention, full
from ullage.architectures._rotary import rotary
from ullage.architectures._stacked import stacked_experts
from ullage.architectures._tower import UNSIZED, Tensors, channels, encoder, linear, norm, patch_grid, weight
from ullage.architectures._wrapped import part, text_format, text_part, wrapped
from ullage.domain.architecture import ChunkedAttention, DenseFeedForward, ExpertFeedForward, FeedForward, Layer, Mixer
from ullage.domain.checkpoint import Role, Tensor, TensorFormat
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.errors import UnsupportedModelError
from ullage.formulas import tensors as block
from ullage.frozen import dataclass

# transformers, configuration_llama4.py.
_CLASS: Final[dict[str, Json]] = {
    "head_dim": 128,
    "hidden_size": 5120,
    "intermediate_size": 8192,
    "max_position_embeddings": 131_072,
    "num_attention_heads": 40,
    "num_hidden_layers": 48,
    "num_key_value_heads": 8,
    "vocab_size": 202_048,
}
# The published preprocessor_config.json cuts an image into at most 16 tiles and adds the whole of it; config.json does not say it.
_TILES: Final = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """The text configuration, read once."""

    size: Widths
    kinds: tuple[str, ...]
    chunk: int
    sparse: frozenset[int]
    experts: ExpertFeedForward
    dense_intermediate: int
    bias: bool


def _read_text(config: Hyperparameters) -> _Text:
    size = widths(config, head_dim=128, kv_heads=8, context_is_scaled=True)
    width = config.integer_or("intermediate_size", 8192, low=1)
    step = config.integer_or("interleave_moe_layer_step", 1, low=1)
    listed = config.has("moe_layers")
    config.ignore("attn_scale", "attn_temperature_tuning", "floor_scale", "use_qk_norm", "for_llm_compressor")
    return _Text(
        size=size,
        kinds=_kinds(config, size.layers),
        chunk=config.integer_or("attention_chunk_size", 8192, low=1),
        sparse=frozenset(config.integers("moe_layers") if listed else range(step - 1, size.layers, step)),
        experts=ExpertFeedForward(
            experts=config.integer_or("num_local_experts", 16, low=1),
            experts_per_token=config.integer_or("num_experts_per_tok", 1, low=1),
            intermediate=width,
            shared_intermediate=width,
        ),
        dense_intermediate=config.integer_or("intermediate_size_mlp", 16_384, low=1),
        bias=config.flag("attention_bias", default=False),
    )


def _kinds(config: Hyperparameters, layers: int) -> tuple[str, ...]:
    """A layer with rotary positions is chunked; every ``no_rope_layer_interval``-th has none and is full."""
    interval = config.integer_or("no_rope_layer_interval", 4, low=1)
    if config.has("layer_types"):
        config.ignore("no_rope_layers")
        return config.words("layer_types", length=layers)
    rope = config.integers("no_rope_layers") if config.has("no_rope_layers") else ()
    flags = rope or tuple(int((index + 1) % interval != 0) for index in range(layers))
    return tuple("chunked_attention" if flag else "full_attention" for flag in flags[:layers])


def _mixer(text: _Text, index: int) -> Mixer:
    size = text.size
    match text.kinds[index]:
        case "full_attention":
            return full(size)
        case "chunked_attention":
            return ChunkedAttention(
                query_heads=size.query_heads,
                kv_heads=size.kv_heads,
                key_dim=size.head_dim,
                value_dim=size.head_dim,
                chunk_tokens=text.chunk,
            )
        case other:
            raise UnsupportedModelError(f"layer_types names {other!r}; only full_attention and chunked_attention are known for this family")


def _feed(text: _Text, at: str, index: int) -> tuple[FeedForward, tuple[Tensor, ...]]:
    """Router, stacked experts and a shared one; or a wider MLP between such layers."""
    size, experts = text.size, text.experts
    if index not in text.sparse:
        width = text.dense_intermediate
        return DenseFeedForward(intermediate=width), block.gated_mlp(at, index, size.fmt, hidden=size.hidden, intermediate=width)
    return experts, (
        *stacked_experts(f"{at}.experts", index, size.fmt, hidden=size.hidden, intermediate=experts.intermediate, experts=experts.experts),
        *block.linear(f"{at}.router", Role.ROUTER, index, experts.experts, size.hidden, size.fmt),
        *block.shared_expert(f"{at}.shared_expert", index, size.fmt, hidden=size.hidden, intermediate=experts.shared_intermediate),
    )


def _text(config: Hyperparameters) -> Blueprint:
    text = _read_text(config)
    size = text.size

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        at = f"model.layers.{index}"
        feed_forward, fed = _feed(text, f"{at}.feed_forward", index)
        return Layer(mixers=(_mixer(text, index),), feed_forward=feed_forward), (
            *attention(f"{at}.self_attn", index, size, qkv_bias=text.bias, out_bias=text.bias),
            *fed,
            *block.norm(f"{at}.input_layernorm", index, size.hidden, size.fmt),
            *block.norm(f"{at}.post_attention_layernorm", index, size.hidden, size.fmt),
        )

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, size.head_dim, size.positions))


def _tower(config: Hyperparameters, fmt: TensorFormat, *, hidden: int) -> Tensors:
    """Unfolded patches, a class token, an encoder, and the adapter that folds four patches into one."""
    width = config.integer_or("hidden_size", 768, low=1)
    intermediate = config.integer_or("intermediate_size", 5632, low=1)
    side, patches = patch_grid(config, image=448, patch=14)
    inner = config.integer_or("projector_input_dim", 4096, low=1)
    outer = config.integer_or("projector_output_dim", 4096, low=1)
    out = config.integer_or("vision_output_dim", 7680, low=1)
    config.must_be("multi_modal_projector_bias", False)
    config.ignore(*UNSIZED, "projector_dropout")
    at = "vision_model"
    return (
        *weight(f"{at}.class_embedding", fmt, width),
        *weight(f"{at}.positional_embedding_vlm", fmt, patches**2 + 1, width),
        *linear(f"{at}.patch_embedding.linear", width, channels(config) * side**2, fmt, bias=False),
        *norm(f"{at}.layernorm_pre", width, fmt),
        *norm(f"{at}.layernorm_post", width, fmt),
        *encoder(
            f"{at}.model.layers",
            config.integer_or("num_hidden_layers", 34, low=1),
            fmt,
            width=width,
            intermediate=intermediate,
            norms=("input_layernorm", "post_attention_layernorm"),
            out_name="o_proj",
        ),
        *linear(f"{at}.vision_adapter.mlp.fc1", inner, intermediate, fmt, bias=False, role=Role.PROJECTOR),
        *linear(f"{at}.vision_adapter.mlp.fc2", outer, inner, fmt, bias=False, role=Role.PROJECTOR),
        *linear("multi_modal_projector.linear_1", hidden, out, fmt, bias=False, role=Role.PROJECTOR),
    )


def read(config: Hyperparameters) -> Blueprint:
    """The text alone (``llama4_text``), or with the tower, which a published file may leave to the class."""
    if config.text("model_type") == "llama4_text":
        return _text(config)
    text = _text(text_part(config, defaults=_CLASS))
    vision = part(config, "vision_config")
    _, patches = patch_grid(vision, image=448, patch=14)
    shuffled = vision.number_or("pixel_shuffle_ratio", 0.5)
    return wrapped(
        config,
        text,
        rename=(("model.", "language_model.model."), ("lm_head", "language_model.lm_head")),
        tower=_tower(vision, text_format(text), hidden=text.architecture.hidden_size),
        encoder_tokens=int(_TILES * patches**2 * shuffled**2),
        patches_per_token=round(shuffled**-2),
    )


FAMILY = Family(model_types=("llama4", "llama4_text"), read=read, title="Llama 4")
