"""MiniMax M3 with its vision tower: CLIP's blocks over patches of a few frames, merged after the projection."""

from typing import Final

from ullage.architectures._tower import UNSIZED, Tensors, channels, encoder, linear, norm, patch_grid, weight
from ullage.architectures._wrapped import part, read_text, text_format, text_part, wrapped
from ullage.domain.checkpoint import Role, TensorFormat
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters

_RENAME: Final = (("model.", "language_model.model."), ("lm_head", "language_model.lm_head"))
_VALUES: Final = (
    "image_grid_pinpoints",
    "image_seq_length",
    "img_token_compression_config",
    "num_reward_heads",
    "process_image_mode",
    "vision_feature_layer",
    "vision_feature_select_strategy",
)
_TOWER_VALUES: Final = (
    "img_token_compression_config",
    "position_embedding_type",
    "projection_dim",
    "rope_mode",
    "vision_segment_max_frames",
    "vocab_size",
)


def _merge(config: Hyperparameters) -> tuple[int, int]:
    """(side of a merged square of patches, frames of a patch), which published files state one level down."""
    inner = config.child_or_none("img_token_compression_config") or config
    inner.ignore("image_token_compression_method")
    return inner.integer_or("spatial_merge_size", 2, low=1), inner.integer_or("temporal_patch_size", 2, low=1)


def _tower(config: Hyperparameters, fmt: TensorFormat) -> Tensors:
    width = config.integer_or("hidden_size", 1280, low=1)
    side, _ = patch_grid(config, image=2016, patch=14)
    _, frames = _merge(config)
    config.ignore(*UNSIZED, *_TOWER_VALUES)
    at = "vision_tower"
    return (
        *weight(f"{at}.embeddings.patch_embedding.weight", fmt, width, channels(config), frames, side, side),
        *norm(f"{at}.pre_layrnorm", width, fmt),  # the checkpoint's own spelling
        *encoder(
            f"{at}.encoder.layers",
            config.integer_or("num_hidden_layers", 32, low=1),
            fmt,
            width=width,
            intermediate=config.integer_or("intermediate_size", 5120, low=1),
        ),
    )


def _projector(config: Hyperparameters, fmt: TensorFormat, *, width: int, hidden: int, merged: int) -> Tensors:
    """Two projections of each patch, and two more of the ``merged`` patches together."""
    inner = config.integer_or("projector_hidden_size", 6144, low=1)
    config.must_be("multimodal_projector_bias", True)
    role = Role.PROJECTOR
    return (
        *linear("multi_modal_projector.linear_1", inner, width, fmt, role=role),
        *linear("multi_modal_projector.linear_2", hidden, inner, fmt, role=role),
        *linear("patch_merge_mlp.linear_1", inner, hidden * merged, fmt, role=role),
        *linear("patch_merge_mlp.linear_2", hidden, inner, fmt, role=role),
    )


def read(config: Hyperparameters) -> Blueprint:
    """The decoder of MiniMax M3 with tower and projector."""
    config.ignore(*_VALUES)
    text = read_text(text_part(config), "minimax_m3")
    fmt, hidden = text_format(text), text.architecture.hidden_size
    vision = part(config, "vision_config")
    side, _ = _merge(vision)
    _, patches = patch_grid(vision, image=2016, patch=14)
    width = vision.integer_or("hidden_size", 1280, low=1)
    tower = (*_tower(vision, fmt), *_projector(config, fmt, width=width, hidden=hidden, merged=side**2))
    return wrapped(config, text, rename=_RENAME, tower=tower, encoder_tokens=(patches // side) ** 2, patches_per_token=side**2)


FAMILY = Family(model_types=("minimax_m3_vl",), read=read, title="MiniMax M3 with its vision tower")
