"""Step 3.7: the decoder of Step 3.5 with a vision tower."""

from typing import Final

from ullage.architectures._step import step_text, step_widths
from ullage.architectures._tower import UNSIZED, Tensors, channels, linear, norm, patch_grid, two_step_mlp, weight
from ullage.architectures._wrapped import part, text_format, text_part, wrapped
from ullage.domain.checkpoint import Role, TensorFormat
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.frozen import replace

_TOKENS: Final = 128_815  # rows of the class's token table: transformers, configuration_step3p7.py
_PADDING: Final = 128


def _rows(vocab: int) -> int:
    """Rows of the token table. Flat files state the class's vocabulary rounded up to a multiple of 128; the table is not."""
    padded = -(-_TOKENS // _PADDING) * _PADDING
    return _TOKENS if vocab == padded else vocab


def _tower(config: Hyperparameters, fmt: TensorFormat, *, hidden: int) -> Tensors:
    """Learned positions, scaled residual sums, and two convolutions that halve the grid and double the width."""
    width = config.integer_or("width", config.integer_or("hidden_size", 1536, low=1), low=1)
    side, patches = patch_grid(config, image=728, patch=14)
    config.ignore(*UNSIZED, "heads", "intermediate_size", "layer_scale_init_value", "ls_init_value", "max_position_embeddings")
    layers = config.integer_or("layers", config.integer_or("num_hidden_layers", 47, low=1), low=1)
    intermediate = int(width * config.number_or("mlp_ratio", 8960 / 1536))
    at = "vision_model"
    return (
        *weight(f"{at}.conv1.weight", fmt, width, channels(config), side, side),
        *weight(f"{at}.positional_embedding", fmt, patches**2, width),
        *norm(f"{at}.ln_pre", width, fmt),
        *(tensor for index in range(layers) for tensor in _tower_block(f"{at}.transformer.resblocks.{index}", width, intermediate, fmt)),
        *weight(f"{at}.vit_downsampler1.weight", fmt, 2 * width, width, 3, 3),
        *weight(f"{at}.vit_downsampler1.bias", fmt, 2 * width),
        *weight(f"{at}.vit_downsampler2.weight", fmt, 4 * width, 2 * width, 3, 3),
        *weight(f"{at}.vit_downsampler2.bias", fmt, 4 * width),
        *linear("vit_large_projector", hidden, 4 * width, fmt, bias=False, role=Role.PROJECTOR),
    )


def _tower_block(at: str, width: int, intermediate: int, fmt: TensorFormat) -> Tensors:
    return (
        *norm(f"{at}.ln_1", width, fmt),
        *weight(f"{at}.attn.in_proj_weight", fmt, 3 * width, width),
        *weight(f"{at}.attn.in_proj_bias", fmt, 3 * width),
        *linear(f"{at}.attn.out_proj", width, width, fmt),
        *weight(f"{at}.ls_1.gamma", fmt, width),
        *norm(f"{at}.ln_2", width, fmt),
        *two_step_mlp(f"{at}.mlp", width, intermediate, fmt, names=("c_fc", "c_proj")),
        *weight(f"{at}.ls_2.gamma", fmt, width),
    )


def read(config: Hyperparameters) -> Blueprint:
    """A flat configuration, or one with ``text_config``; the tower may be left to the class."""
    inner = text_part(config)
    size = step_widths(inner)
    text = step_text(inner, replace(size, vocab=_rows(size.vocab)))
    vision = part(config, "vision_config")
    _, patches = patch_grid(vision, image=728, patch=14)
    config.must_be("projector_bias", False)
    config.ignore("understand_projector_stride", "image_token_len", "patch_token_len")
    return wrapped(
        config,
        text,
        tower=_tower(vision, text_format(text), hidden=text.architecture.hidden_size),
        encoder_tokens=(patches // 4) ** 2,  # of the whole image; how many windows are cut besides, config.json does not say
        patches_per_token=16,
    )


FAMILY = Family(model_types=("step3p7",), read=read, title="Step 3.7 Flash")
