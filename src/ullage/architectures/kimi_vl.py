"""Kimi-VL: Moonlight, a small DeepSeek V3, behind a vision tower that is not built here."""

from typing import Final

from ullage.architectures._moonvit import moonvit_tokens
from ullage.architectures._wrapped import part, read_text, text_part, wrapped
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters

_RENAME: Final = (("model.", "language_model.model."), ("lm_head", "language_model.lm_head"))
_TOWER_SIZES: Final = ("hidden_size", "intermediate_size", "model_type", "num_attention_heads", "num_hidden_layers", "patch_size")


def read(config: Hyperparameters) -> Blueprint:
    """The text part alone: tower and projector, about 0.4 billion parameters more, have no class to be compared with."""
    text = read_text(text_part(config), "deepseek_v3")
    vision = part(config, "vision_config")
    vision.ignore(*_TOWER_SIZES)
    return wrapped(config, text, rename=_RENAME, encoder_tokens=moonvit_tokens(vision))


FAMILY = Family(model_types=("kimi_vl",), read=read, title="Kimi-VL, text part")
