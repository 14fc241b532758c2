"""Gemma 4: wide full layers among windows, shared caches, per-layer inputs, experts beside the MLP, towers for images and sound."""

from typing import Final

from ullage.architectures._decoder import Widths, decoder, widths
from ullage.architectures._dense import FOUR_NORMS, every, mlp
from ullage.architectures._gemma4_towers import audio_tower, unified_audio, unified_vision, vision_tower
from ullage.architectures._stacked import stacked_experts
from ullage.architectures._wrapped import text_format, text_part, wrapped
from ullage.domain.architecture import (
    DenseFeedForward,
    ExpertFeedForward,
    FeedForward,
    FullAttention,
    Layer,
    Mixer,
    RotaryTable,
    SharedCache,
    SlidingAttention,
)
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.errors import UnsupportedModelError
from ullage.formulas import tensors as block
from ullage.frozen import dataclass

_FULL: Final = "full_attention"
# transformers, configuration_gemma4.py and configuration_gemma4_unified.py; the unified models have no per-layer inputs.
_CLASS: Final[dict[str, Json]] = {
    "head_dim": 256,
    "hidden_size": 2304,
    "hidden_size_per_layer_input": 256,
    "intermediate_size": 9216,
    "max_position_embeddings": 131_072,
    "num_attention_heads": 8,
    "num_hidden_layers": 30,
    "num_key_value_heads": 4,
    "sliding_window": 512,
    "vocab_size": 262_144,
}
_UNIFIED: Final[dict[str, Json]] = {**_CLASS, "max_position_embeddings": 262_144, "sliding_window": 1024}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Text:
    """The text configuration, read once."""

    size: Widths
    kinds: tuple[str, ...]
    full_head_dim: int
    full_kv_heads: int
    full_values_are_keys: bool
    window: int
    intermediate: int
    first_shared: int  # this layer and all after it read earlier caches
    shared_scale: int  # how much wider their MLP is
    experts: ExpertFeedForward | None
    per_layer: int
    bias: bool


def _read_text(config: Hyperparameters, *, unified: bool) -> _Text:
    size = widths(config, tied=True, head_dim=256, kv_heads=4)
    listed = config.words("layer_types", length=size.layers) if config.has("layer_types") else every(6, size.layers)
    alike = config.flag("attention_k_eq_v", default=False)
    wide = _full_layer(config)
    global_heads = config.integer_or("num_global_key_value_heads", wide.integer_or("num_key_value_heads", size.kv_heads, low=1), low=1)
    intermediate = config.integer("intermediate_size")
    double = config.flag("use_double_wide_mlp", default=False)
    config.must_be("use_bidirectional_attention", "vision", False)
    config.ignore("expert_intermediate_size")
    return _Text(
        size=size,
        kinds=(*listed[:-1], _FULL),  # the class makes the last layer a full one whatever is listed
        full_head_dim=config.integer_or("global_head_dim", wide.integer_or("head_dim", 512, low=1), low=1),
        full_kv_heads=global_heads if alike else size.kv_heads,
        full_values_are_keys=alike,
        window=config.integer_or("sliding_window", 1024 if unified else 512, low=1),
        intermediate=intermediate,
        first_shared=size.layers - config.integer_or("num_kv_shared_layers", 0),
        shared_scale=2 if double else 1,
        experts=_experts(config, intermediate),
        per_layer=0 if unified else config.integer_or("hidden_size_per_layer_input", 256),
        bias=config.flag("attention_bias", default=False),
    )


def _full_layer(config: Hyperparameters) -> Hyperparameters:
    """What newer files list for each full layer; all of them are alike."""
    listed = config.raw("per_layer_config")
    if not isinstance(listed, dict) or not listed:
        return Hyperparameters({})
    group = config.child("per_layer_config")
    layers = [group.child(key) for key in listed]
    if any(item != listed[next(iter(listed))] for item in listed.values()):
        raise UnsupportedModelError("per_layer_config has layers that differ; only one kind of full layer is known for this family")
    for layer in layers:
        layer.ignore("head_dim", "num_key_value_heads")
    return layers[0]


def _experts(config: Hyperparameters, intermediate: int) -> ExpertFeedForward | None:
    config.ignore("num_experts", "top_k_experts", "moe_intermediate_size")
    if not config.flag("enable_moe_block", default=False):
        return None
    return ExpertFeedForward(
        experts=config.integer("num_experts"),
        experts_per_token=config.integer("top_k_experts"),
        intermediate=config.integer("moe_intermediate_size"),
        shared_intermediate=intermediate,
    )


def _source(text: _Text, kind: str) -> int:
    """The last layer of a kind that keeps a cache."""
    for index in range(text.first_shared - 1, -1, -1):
        if text.kinds[index] == kind:
            return index
    raise UnsupportedModelError(f"num_kv_shared_layers leaves no {kind} layer whose cache the later ones could read")


def _mixer(text: _Text, index: int) -> Mixer:
    full = text.kinds[index] == _FULL
    heads = text.size.query_heads
    dim = text.full_head_dim if full else text.size.head_dim
    if index >= text.first_shared:
        return SharedCache(query_heads=heads, key_dim=dim, value_dim=dim, source_layer=_source(text, text.kinds[index]))
    if full:
        return FullAttention(query_heads=heads, kv_heads=text.full_kv_heads, key_dim=dim, value_dim=dim)
    return SlidingAttention(query_heads=heads, kv_heads=text.size.kv_heads, key_dim=dim, value_dim=dim, window_tokens=text.window)


def _attention(text: _Text, mixer: Mixer, at: str, index: int) -> tuple[Tensor, ...]:
    """A layer that reads another's cache projects queries alone; where values are the keys there is no value projection."""
    fmt, hidden, bias = text.size.fmt, text.size.hidden, text.bias
    full = text.kinds[index] == _FULL
    dim = text.full_head_dim if full else text.size.head_dim
    queries = text.size.query_heads * dim
    keys = (text.full_kv_heads if full else text.size.kv_heads) * dim
    own = not isinstance(mixer, SharedCache)
    return (
        *block.linear(f"{at}.q_proj", Role.Q, index, queries, hidden, fmt, bias=bias),
        *block.norm(f"{at}.q_norm", index, dim, fmt),
        *(block.norm(f"{at}.k_norm", index, dim, fmt) if own else ()),
        *(block.linear(f"{at}.k_proj", Role.K, index, keys, hidden, fmt, bias=bias) if own else ()),
        *(
            block.linear(f"{at}.v_proj", Role.V, index, keys, hidden, fmt, bias=bias)
            if own and not (full and text.full_values_are_keys)
            else ()
        ),
        *block.linear(f"{at}.o_proj", Role.O, index, hidden, queries, fmt, bias=bias),
    )


def _expert_tensors(experts: ExpertFeedForward, size: Widths, at: str, index: int) -> tuple[Tensor, ...]:
    """Router with its two scales, stacked experts, and the norms of both branches."""
    names = ("post_feedforward_layernorm_1", "post_feedforward_layernorm_2", "pre_feedforward_layernorm_2")
    return (
        block.weight(f"{at}.router.scale", Role.ROUTER, index, (size.hidden,), size.fmt),
        block.weight(f"{at}.router.per_expert_scale", Role.ROUTER, index, (experts.experts,), size.fmt),
        *block.linear(f"{at}.router.proj", Role.ROUTER, index, experts.experts, size.hidden, size.fmt),
        *stacked_experts(f"{at}.experts", index, size.fmt, hidden=size.hidden, intermediate=experts.intermediate, experts=experts.experts),
        *(tensor for name in names for tensor in block.norm(f"{at}.{name}", index, size.hidden, size.fmt)),
    )


def _per_layer_input(text: _Text, at: str, index: int) -> tuple[Tensor, ...]:
    """How a layer takes in its own embedding of the token."""
    size = text.size
    return (
        *block.linear(f"{at}.per_layer_input_gate", Role.OTHER, index, text.per_layer, size.hidden, size.fmt),
        *block.linear(f"{at}.per_layer_projection", Role.OTHER, index, size.hidden, text.per_layer, size.fmt),
        *block.norm(f"{at}.post_per_layer_input_norm", index, size.hidden, size.fmt),
    )


def _layer(text: _Text, index: int) -> tuple[Layer, tuple[Tensor, ...]]:
    size, at = text.size, f"model.layers.{index}"
    mixer = _mixer(text, index)
    width = text.intermediate * (text.shared_scale if index >= text.first_shared else 1)
    feed_forward: FeedForward = text.experts or DenseFeedForward(intermediate=width)
    return Layer(mixers=(mixer,), feed_forward=feed_forward), (
        *_attention(text, mixer, f"{at}.self_attn", index),
        *mlp(f"{at}.mlp", index, size, width),
        *(tensor for name in FOUR_NORMS for tensor in block.norm(f"{at}.{name}", index, size.hidden, size.fmt)),
        *(_expert_tensors(text.experts, size, at, index) if text.experts else ()),
        *(_per_layer_input(text, at, index) if text.per_layer else ()),
    )


def _text(config: Hyperparameters, *, unified: bool) -> Blueprint:
    text = _read_text(config, unified=unified)
    size = text.size
    after: tuple[Tensor, ...] = ()
    if text.per_layer:
        table = config.integer_or("vocab_size_per_layer_input", 262_144, low=1)
        packed = size.layers * text.per_layer
        after = (
            *block.embedding("model.embed_tokens_per_layer", table, packed, size.fmt),
            *block.linear("model.per_layer_model_projection", Role.OTHER, None, packed, size.hidden, size.fmt),
            *block.norm("model.per_layer_projection_norm", None, text.per_layer, size.fmt),
        )
    config.ignore("vocab_size_per_layer_input")
    tables = tuple(RotaryTable(dim=dim, positions=size.positions) for dim in (size.head_dim, text.full_head_dim))
    return decoder(config, size, layer=lambda index: _layer(text, index), rotary_tables=tables, after=after)


def read(config: Hyperparameters) -> Blueprint:
    """The text alone, or with the towers whose configurations are there."""
    model_type = config.text("model_type")
    unified = model_type.startswith("gemma4_unified")
    if model_type.endswith("_text"):
        return _text(config, unified=unified)
    text = _text(text_part(config, defaults=_UNIFIED if unified else _CLASS, tied=True), unified=unified)
    fmt, hidden = text_format(text), text.architecture.hidden_size
    see, hear = (unified_vision, unified_audio) if unified else (vision_tower, audio_tower)
    vision, audio = config.child_or_none("vision_config"), config.child_or_none("audio_config")
    told = vision.integer_or("default_output_length", 280) if vision is not None else 0
    return wrapped(
        config,
        text,
        rename=(("model.", "model.language_model."),),
        tower=(
            *(see(vision, fmt, hidden=hidden) if vision is not None else ()),
            *(hear(audio, fmt, hidden=hidden) if audio is not None else ()),
        ),
        encoder_tokens=config.integer_or("vision_soft_tokens_per_image", told),
        patches_per_token=vision.integer_or("pooling_kernel_size", 3, low=1) ** 2 if vision is not None else 1,
    )


FAMILY = Family(
    model_types=("gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text"),
    read=read,
    title="Gemma 4, text, multimodal and unified",
)
