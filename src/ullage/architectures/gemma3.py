"""Gemma 3 with its SigLIP tower, whose patches are pooled to a fixed number of tokens."""

from typing import Final

from ullage.architectures._clip_tower import siglip_tower
from ullage.architectures._tower import norm, patch_grid, weight
from ullage.architectures._wrapped import part, read_text, text_format, text_part, wrapped
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


def read(config: Hyperparameters) -> Blueprint:
    """The text decoder, with its tower and the pooled patches' projection."""
    text = read_text(text_part(config, defaults=_CLASS, tied=True), "gemma3_text")
    fmt = text_format(text)
    vision = part(config, "vision_config")
    width = vision.integer_or("hidden_size", 768, low=1)
    tokens = config.integer_or("mm_tokens_per_image", 256)
    _, patches = patch_grid(vision, image=224, patch=16)
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
        encoder_tokens=tokens,
        patches_per_token=max(1, patches**2 // tokens) if tokens else 1,
    )


FAMILY = Family(model_types=("gemma3",), read=read, title="Gemma 3 with its SigLIP tower")
