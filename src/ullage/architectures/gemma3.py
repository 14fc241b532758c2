"""Gemma 3: five sliding layers for each full one, with or without the SigLIP tower."""

from typing import Final

from ullage.architectures._clip_tower import siglip_tower
from ullage.architectures._decoder import Widths, decoder, rotary, widths
from ullage.architectures._gemma import FULL, layer_kinds, sandwich_norms
from ullage.architectures._tower import weight
from ullage.architectures._wrapped import part, text_format, text_part, wrapped
from ullage.domain.architecture import DenseFeedForward, FullAttention, Layer, RotaryTable, SlidingAttention
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.formulas import tensors as block

# Published files leave out what equals the class: transformers, configuration_gemma3.py, Gemma3TextConfig.
_CLASS: Final[dict[str, Json]] = {
    "head_dim": 256,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "max_position_embeddings": 131_072,
    "num_attention_heads": 8,
    "num_hidden_layers": 26,
    "num_key_value_heads": 4,
    "sliding_window": 4096,
    "vocab_size": 262_208,
}


def _text(config: Hyperparameters) -> Blueprint:
    size = widths(config, tied=True, head_dim=256)
    intermediate = config.integer("intermediate_size")
    config.must_be("use_bidirectional_attention", False)
    config.ignore("rope_local_base_freq")
    kinds = layer_kinds(config, size.layers)
    window = config.integer("sliding_window")
    bias = config.flag("attention_bias", default=False)

    def layer(index: int) -> tuple[Layer, tuple[Tensor, ...]]:
        at = f"model.layers.{index}"
        return Layer(mixers=(_mixer(size, kinds[index], window),), feed_forward=DenseFeedForward(intermediate=intermediate)), (
            *block.attention(
                f"{at}.self_attn",
                index,
                size.fmt,
                hidden=size.hidden,
                query_heads=size.query_heads,
                kv_heads=size.kv_heads,
                key_dim=size.head_dim,
                qkv_bias=bias,
                out_bias=bias,
            ),
            *block.norm(f"{at}.self_attn.q_norm", index, size.head_dim, size.fmt),
            *block.norm(f"{at}.self_attn.k_norm", index, size.head_dim, size.fmt),
            *block.gated_mlp(f"{at}.mlp", index, size.fmt, hidden=size.hidden, intermediate=intermediate),
            *sandwich_norms(at, index, size.hidden, size.fmt),
        )

    # Full layers scale their positions, windows do not: two tables.
    tables = (*rotary(config, size.head_dim), RotaryTable(dim=size.head_dim, positions=config.integer("max_position_embeddings")))
    return decoder(config, size, layer=layer, rotary_tables=tables)


def _mixer(size: Widths, kind: str, window: int) -> FullAttention | SlidingAttention:
    if kind == FULL:
        return FullAttention(query_heads=size.query_heads, kv_heads=size.kv_heads, key_dim=size.head_dim, value_dim=size.head_dim)
    return SlidingAttention(
        query_heads=size.query_heads, kv_heads=size.kv_heads, key_dim=size.head_dim, value_dim=size.head_dim, window_tokens=window
    )


def read(config: Hyperparameters) -> Blueprint:
    """The text alone (``gemma3_text``), or with its tower and projector."""
    if config.text("model_type") == "gemma3_text":
        return _text(config)
    text = _text(text_part(config, defaults=_CLASS, tied=True))
    fmt = text_format(text)
    vision = part(config, "vision_config")
    width = vision.integer_or("hidden_size", 768, low=1)
    tower = (
        *siglip_tower(vision, fmt, prefix="vision_tower.vision_model"),
        *weight("multi_modal_projector.mm_input_projection_weight", fmt, width, text.architecture.hidden_size, role=Role.PROJECTOR),
        *block.norm("multi_modal_projector.mm_soft_emb_norm", None, width, fmt, role=Role.PROJECTOR),
    )
    return wrapped(
        config,
        text,
        rename=(("model.", "language_model.model."), ("lm_head", "language_model.lm_head")),
        tower=tower,
        encoder_tokens=config.integer_or("mm_tokens_per_image", 256),
    )


FAMILY = Family(model_types=("gemma3", "gemma3_text"), read=read, title="Gemma 3, with or without its SigLIP tower")
