"""Gemma 3: five sliding layers for each full one, with or without the SigLIP tower."""

from typing import Final

from ullage.architectures._clip_tower import siglip_tower
from ullage.architectures._decoder import rotary, widths
from ullage.architectures._dense import FOUR_NORMS, by_type, dense, every, window
from ullage.architectures._tower import norm, weight
from ullage.architectures._wrapped import part, text_format, text_part, wrapped
from ullage.domain.architecture import RotaryTable
from ullage.domain.checkpoint import Role
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters, Json

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
    # The stated length already counts the factor of the full layers' scaling.
    size = widths(config, tied=True, head_dim=256, context_is_scaled=True)
    config.must_be("use_bidirectional_attention", False)
    config.ignore("rope_local_base_freq")
    bias = config.flag("attention_bias", default=False)
    period = config.integer_or("sliding_window_pattern", 6, low=1)
    return dense(
        config,
        size,
        mixers=by_type(config, size, window(config, 4096), every(period, size.layers)),
        qkv_bias=bias,
        out_bias=bias,
        qk_norm="head",
        norms=FOUR_NORMS,
        # Full layers scale their positions, windows do not: two tables.
        rotary_tables=(*rotary(config, size.head_dim, size.positions), RotaryTable(dim=size.head_dim, positions=size.positions)),
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
        *norm("multi_modal_projector.mm_soft_emb_norm", width, fmt, bias=False, role=Role.PROJECTOR),
    )
    return wrapped(
        config,
        text,
        rename=(("model.", "language_model.model."), ("lm_head", "language_model.lm_head")),
        tower=tower,
        encoder_tokens=config.integer_or("mm_tokens_per_image", 256),
    )


FAMILY = Family(model_types=("gemma3", "gemma3_text"), read=read, title="Gemma 3, with or without its SigLIP tower")
