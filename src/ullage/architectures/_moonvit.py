"""MoonViT, the vision tower of the Kimi models, and the projector that merges its patches."""

from ullage.architectures._tower import UNSIZED, Tensors, linear, norm, two_step_mlp, weight
from ullage.domain.checkpoint import Role, TensorFormat
from ullage.domain.hyperparameters import Hyperparameters

_VALUES = ("merge_type", "mm_projector_type", "pos_emb_type", "projector_hidden_act", "projector_ln_eps", "video_attn_type")


def _number(config: Hyperparameters, key: str, default: int) -> int:
    """Published files write the tower's numbers with a ``vt_`` in front, the class without."""
    return config.integer_or(f"vt_{key}", config.integer_or(key, default, low=1), low=1)


def merged_patches(config: Hyperparameters) -> int:
    """Patches that become one token."""
    rows, columns = config.integers("merge_kernel_size", length=2, low=1) if config.has("merge_kernel_size") else (2, 2)
    return rows * columns


def _grid(config: Hyperparameters) -> tuple[int, int]:
    return config.integer_or("init_pos_emb_height", 64, low=1), config.integer_or("init_pos_emb_width", 64, low=1)


def moonvit_tower(config: Hyperparameters, fmt: TensorFormat, *, hidden: int) -> Tensors:
    """Fused attention and plain MLPs with biases; positions in time are computed, not stored. ``hidden`` is the text's width."""
    width = _number(config, "hidden_size", 1152)
    intermediate = _number(config, "intermediate_size", 4304)
    side = config.integer_or("patch_size", 14, low=1)
    config.ignore(*UNSIZED, *_VALUES, "init_pos_emb_time", "text_hidden_size", "vt_num_attention_heads")
    return (
        *weight("vision_tower.patch_embed.pos_emb.weight", fmt, *_grid(config), width),
        *weight("vision_tower.patch_embed.proj.weight", fmt, width, 3, side, side),
        *weight("vision_tower.patch_embed.proj.bias", fmt, width),
        *(
            tensor
            for index in range(_number(config, "num_hidden_layers", 27))
            for at in (f"vision_tower.encoder.blocks.{index}",)
            for tensor in (
                *norm(f"{at}.norm0", width, fmt),
                *linear(f"{at}.wqkv", 3 * width, width, fmt),
                *linear(f"{at}.wo", width, width, fmt),
                *norm(f"{at}.norm1", width, fmt),
                *two_step_mlp(f"{at}.mlp", width, intermediate, fmt, names=("fc0", "fc1")),
            )
        ),
        *norm("vision_tower.encoder.final_layernorm", width, fmt),
        *_projector(config, fmt, hidden=hidden),
    )


def _projector(config: Hyperparameters, fmt: TensorFormat, *, hidden: int) -> Tensors:
    width = config.integer_or("mm_hidden_size", 1152, low=1)
    merged = width * merged_patches(config)
    return (
        *norm("mm_projector.pre_norm", width, fmt, role=Role.PROJECTOR),
        *linear("mm_projector.proj.0", merged, merged, fmt, role=Role.PROJECTOR),
        *linear("mm_projector.proj.2", hidden, merged, fmt, role=Role.PROJECTOR),
    )


def moonvit_tokens(config: Hyperparameters) -> int:
    """Tokens of an image as large as the learned positions; larger ones stretch them as far as the preprocessor allows."""
    rows, columns = _grid(config)
    return rows * columns // merged_patches(config)
