"""The vision towers of the Qwen models: patches in, merged patches of the text's width out."""

from collections.abc import Callable
from typing import Final

from ullage.architectures._tower import linear, norm
from ullage.domain.checkpoint import Role, Tensor, TensorFormat
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block

# The published preprocessor_config.json of every generation allows 16,384 merged patches in one image:
# 12,845,056 pixels / 28 x 28 (Qwen2-VL, Qwen2.5-VL) and 16,777,216 / 32 x 32 (Qwen3-VL, Qwen3.5). config.json does not say it.
IMAGE_TOKENS: Final = 16_384
MERGED: Final = 4  # patches that become one token, two by two
# Qwen2-VL and Qwen2.5-VL: engines try a video of 14 frames, two of which make one image's tokens.
VIDEO_FRAMES: Final = 7

_Mlp = Callable[[str], tuple[Tensor, ...]]


def qwen2_tower(config: Hyperparameters, fmt: TensorFormat, *, prefix: str) -> tuple[Tensor, ...]:
    """Qwen2-VL: layer norms, plain MLP; ``hidden_size`` is the text's width. ``config`` is the vision configuration."""
    width = config.integer_or("embed_dim", 1280, low=1)
    out = config.integer_or("hidden_size", 3584, low=1)
    ratio = config.number_or("mlp_ratio", 4)

    def mlp(at: str) -> tuple[Tensor, ...]:
        return (*linear(f"{at}.fc1", int(width * ratio), width, fmt), *linear(f"{at}.fc2", width, int(width * ratio), fmt))

    return (
        *_patches(config, width, fmt, prefix=prefix, bias=False, patch=14),
        *_blocks(config, width, fmt, prefix=prefix, mlp=mlp, norm_bias=True, depth=32),
        *_old_merger(config, width, out, fmt, prefix=prefix, norm_bias=True),
    )


def qwen2_5_tower(config: Hyperparameters, fmt: TensorFormat, *, prefix: str) -> tuple[Tensor, ...]:
    """Qwen2.5-VL: RMS norms, gated MLP with biases, windows in most blocks. ``config`` is the vision configuration."""
    width = config.integer_or("hidden_size", 3584, low=1)
    intermediate = config.integer_or("intermediate_size", 3420, low=1)
    config.ignore("window_size", "fullatt_block_indexes", "tokens_per_second", "spatial_patch_size")

    def mlp(at: str) -> tuple[Tensor, ...]:
        return (
            *linear(f"{at}.gate_proj", intermediate, width, fmt),
            *linear(f"{at}.up_proj", intermediate, width, fmt),
            *linear(f"{at}.down_proj", width, intermediate, fmt),
        )

    return (
        *_patches(config, width, fmt, prefix=prefix, bias=False, patch=14),
        *_blocks(config, width, fmt, prefix=prefix, mlp=mlp, norm_bias=False, depth=32),
        *_old_merger(config, width, config.integer_or("out_hidden_size", 3584, low=1), fmt, prefix=prefix, norm_bias=False),
    )


def qwen3_tower(config: Hyperparameters, fmt: TensorFormat, *, prefix: str = "model.visual") -> tuple[Tensor, ...]:
    """Qwen3-VL and Qwen3.5: learned positions, and one more merger for each depth that feeds the text ("deepstack")."""
    width = config.integer_or("hidden_size", 1152, low=1)
    intermediate = config.integer_or("intermediate_size", 4304, low=1)
    out = config.integer_or("out_hidden_size", 3584, low=1)
    merged = width * config.integer_or("spatial_merge_size", 2, low=1) ** 2
    positions = config.integer_or("num_position_embeddings", 2304, low=1)
    depths = config.integers("deepstack_visual_indexes") if config.has("deepstack_visual_indexes") else (8, 16, 24)

    def mlp(at: str) -> tuple[Tensor, ...]:
        return (*linear(f"{at}.linear_fc1", intermediate, width, fmt), *linear(f"{at}.linear_fc2", width, intermediate, fmt))

    def merger(at: str, norm_width: int) -> tuple[Tensor, ...]:
        return (
            *norm(f"{at}.norm", norm_width, fmt, bias=True, role=Role.PROJECTOR),
            *linear(f"{at}.linear_fc1", merged, merged, fmt, role=Role.PROJECTOR),
            *linear(f"{at}.linear_fc2", out, merged, fmt, role=Role.PROJECTOR),
        )

    return (
        *_patches(config, width, fmt, prefix=prefix, bias=True, patch=16),
        block.weight(f"{prefix}.pos_embed.weight", Role.VISION, None, (positions, width), fmt),
        *_blocks(config, width, fmt, prefix=prefix, mlp=mlp, norm_bias=True, depth=27),
        *merger(f"{prefix}.merger", width),
        *(tensor for index in range(len(depths)) for tensor in merger(f"{prefix}.deepstack_merger_list.{index}", merged)),
    )


def _patches(config: Hyperparameters, width: int, fmt: TensorFormat, *, prefix: str, bias: bool, patch: int) -> tuple[Tensor, ...]:
    """The projection of one patch of a few frames."""
    channels = config.integer_or("in_channels", config.integer_or("in_chans", 3, low=1), low=1)
    side = config.integer_or("patch_size", patch, low=1)
    frames = config.integer_or("temporal_patch_size", 2, low=1)
    config.ignore("num_heads", "model_type")  # heads only divide the width
    at = f"{prefix}.patch_embed.proj"
    matrix = block.weight(f"{at}.weight", Role.VISION, None, (width, channels, frames, side, side), fmt)
    return (matrix, block.weight(f"{at}.bias", Role.VISION, None, (width,), fmt)) if bias else (matrix,)


def _blocks(
    config: Hyperparameters, width: int, fmt: TensorFormat, *, prefix: str, mlp: _Mlp, norm_bias: bool, depth: int
) -> tuple[Tensor, ...]:
    """The blocks: two norms, fused attention with biases, and the generation's own MLP."""
    return tuple(
        tensor
        for index in range(config.integer_or("depth", depth, low=1))
        for at in (f"{prefix}.blocks.{index}",)
        for tensor in (
            *norm(f"{at}.norm1", width, fmt, bias=norm_bias),
            *norm(f"{at}.norm2", width, fmt, bias=norm_bias),
            *linear(f"{at}.attn.qkv", 3 * width, width, fmt),
            *linear(f"{at}.attn.proj", width, width, fmt),
            *mlp(f"{at}.mlp"),
        )
    )


def _old_merger(config: Hyperparameters, width: int, out: int, fmt: TensorFormat, *, prefix: str, norm_bias: bool) -> tuple[Tensor, ...]:
    """The merger of Qwen2-VL and Qwen2.5-VL: a norm and two projections over 2 x 2 patches."""
    merged = width * config.integer_or("spatial_merge_size", 2, low=1) ** 2
    return (
        *norm(f"{prefix}.merger.ln_q", width, fmt, bias=norm_bias, role=Role.PROJECTOR),
        *linear(f"{prefix}.merger.mlp.0", merged, merged, fmt, role=Role.PROJECTOR),
        *linear(f"{prefix}.merger.mlp.2", out, merged, fmt, role=Role.PROJECTOR),
    )
