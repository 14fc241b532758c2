"""The CLIP and SigLIP vision towers, which several models carry unchanged."""

from ullage.architectures._tower import UNSIZED, Tensors, channels, encoder, linear, norm, patch_grid, two_step_mlp, weight
from ullage.domain.checkpoint import TensorFormat
from ullage.domain.hyperparameters import Hyperparameters


def siglip_tower(config: Hyperparameters, fmt: TensorFormat, *, prefix: str) -> Tensors:
    """Patches with a bias, no class token, and a pooling head unless ``vision_use_head`` is false."""
    width = config.integer_or("hidden_size", 768, low=1)
    intermediate = config.integer_or("intermediate_size", 3072, low=1)
    side, patches = patch_grid(config, image=224, patch=16)
    config.ignore(*UNSIZED)
    pooled = config.flag("vision_use_head", default=True)
    return (
        *weight(f"{prefix}.embeddings.patch_embedding.weight", fmt, width, channels(config), side, side),
        *weight(f"{prefix}.embeddings.patch_embedding.bias", fmt, width),
        *weight(f"{prefix}.embeddings.position_embedding.weight", fmt, patches**2, width),
        *encoder(
            f"{prefix}.encoder.layers",
            config.integer_or("num_hidden_layers", 12, low=1),
            fmt,
            width=width,
            intermediate=intermediate,
        ),
        *norm(f"{prefix}.post_layernorm", width, fmt),
        *(_pooling(f"{prefix}.head", width, intermediate, fmt) if pooled else ()),
    )


def _pooling(at: str, width: int, intermediate: int, fmt: TensorFormat) -> Tensors:
    """One learned query that attends to all patches."""
    return (
        *weight(f"{at}.probe", fmt, 1, 1, width),
        *weight(f"{at}.attention.in_proj_weight", fmt, 3 * width, width),
        *weight(f"{at}.attention.in_proj_bias", fmt, 3 * width),
        *linear(f"{at}.attention.out_proj", width, width, fmt),
        *norm(f"{at}.layernorm", width, fmt),
        *two_step_mlp(f"{at}.mlp", width, intermediate, fmt),
    )


def clip_tower(config: Hyperparameters, fmt: TensorFormat, *, prefix: str) -> Tensors:
    """Patches without a bias, one class token, norms before and after."""
    width = config.integer_or("hidden_size", 768, low=1)
    side, patches = patch_grid(config, image=224, patch=32)
    config.ignore(*UNSIZED, "projection_dim", "vocab_size")
    return (
        *weight(f"{prefix}.embeddings.class_embedding", fmt, width),
        *weight(f"{prefix}.embeddings.patch_embedding.weight", fmt, width, channels(config), side, side),
        *weight(f"{prefix}.embeddings.position_embedding.weight", fmt, patches**2 + 1, width),
        *norm(f"{prefix}.pre_layrnorm", width, fmt),  # the checkpoint's own spelling
        *encoder(
            f"{prefix}.encoder.layers",
            config.integer_or("num_hidden_layers", 12, low=1),
            fmt,
            width=width,
            intermediate=config.integer_or("intermediate_size", 3072, low=1),
        ),
        *norm(f"{prefix}.post_layernorm", width, fmt),
    )
