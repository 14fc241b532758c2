"""Phi-3 and Phi-3.5 Vision, and Phi-4 Multimodal: the Phi-3 decoder; what sees and hears is not built here."""

from typing import Final

from ullage.architectures._wrapped import read_text, wrapped
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters

# Towers named by another model, and adapters: their sizes are not all in the file.
_NOT_BUILT: Final = ("audio_processor", "embd_layer", "img_processor", "speech_lora", "vision_lora")


def read(config: Hyperparameters) -> Blueprint:
    """The text part alone.

    Missing are the CLIP tower and projector of the vision models, and in Phi-4 Multimodal the vision and audio towers and two LoRA
    adapters on every layer, 1.8 of its 5.6 billion parameters.
    """
    config.ignore(*_NOT_BUILT, "full_attn_mod", "interpolate_factor", "lm_head_bias")
    return wrapped(config, read_text(config, "phi3"))


FAMILY = Family(model_types=("phi3_v", "phi4mm"), read=read, title="Phi-3 Vision and Phi-4 Multimodal, text part")
