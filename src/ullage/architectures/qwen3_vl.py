"""Qwen3-VL, dense and mixture: the Qwen3 decoders with a vision tower that also feeds their first layers."""

from ullage.architectures._qwen_tower import IMAGE_TOKENS, MERGED, qwen3_tower
from ullage.architectures._stacked import with_stacked_experts
from ullage.architectures._wrapped import part, read_text, text_format, text_part, wrapped
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """The checkpoint stacks the experts of a layer; Qwen3's own does not."""
    inner = text_part(config)
    mixture = config.text("model_type") == "qwen3_vl_moe"
    text = with_stacked_experts(read_text(inner, "qwen3_moe")) if mixture else read_text(inner, "qwen3")
    return wrapped(
        config,
        text,
        rename=(("model.", "model.language_model."),),
        tower=qwen3_tower(part(config, "vision_config"), text_format(text)),
        encoder_tokens=IMAGE_TOKENS,
        patches_per_token=MERGED,
    )


FAMILY = Family(model_types=("qwen3_vl", "qwen3_vl_moe"), read=read, title="Qwen3-VL, dense and mixture of experts")
