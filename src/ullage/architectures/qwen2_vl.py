"""Qwen2-VL: the Qwen2 decoder with a vision tower of its own."""

from ullage.architectures._qwen_tower import IMAGE_TOKENS, MERGED, VIDEO_FRAMES, qwen2_tower
from ullage.architectures._wrapped import part, read_text, text_format, text_part, wrapped
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """A flat configuration, or one with ``text_config``; older files know no ``text_config``."""
    text = read_text(text_part(config), "qwen2")
    tower = qwen2_tower(part(config, "vision_config"), text_format(text), prefix="visual")
    return wrapped(config, text, tower=tower, encoder_tokens=IMAGE_TOKENS, patches_per_token=MERGED, frames=VIDEO_FRAMES)


FAMILY = Family(model_types=("qwen2_vl",), read=read, title="Qwen2-VL")
