"""Kimi-VL: Moonlight, a small DeepSeek V3, seeing through MoonViT."""

from typing import Final

from ullage.architectures._moonvit import merged_patches, moonvit_tokens, moonvit_tower
from ullage.architectures._wrapped import part, read_text, text_format, text_part, wrapped
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters

_RENAME: Final = (("model.", "language_model.model."), ("lm_head", "language_model.lm_head"))


def read(config: Hyperparameters) -> Blueprint:
    """The decoder with tower and projector."""
    text = read_text(text_part(config), "deepseek_v3")
    vision = part(config, "vision_config")
    tower = moonvit_tower(vision, text_format(text), hidden=text.architecture.hidden_size)
    return wrapped(
        config,
        text,
        rename=_RENAME,
        tower=tower,
        encoder_tokens=moonvit_tokens(vision),
        patches_per_token=merged_patches(vision),
        counts_tower=False,  # the 16B of its name are the decoder's
    )


FAMILY = Family(model_types=("kimi_vl",), read=read, title="Kimi-VL")
