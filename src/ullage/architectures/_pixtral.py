"""The Pixtral vision tower: any image size, rotary positions, gated MLPs, no biases."""

from ullage.architectures._tower import UNSIZED, Tensors, channels, norm, patch_grid, projections, three_step_mlp, weight
from ullage.domain.checkpoint import TensorFormat
from ullage.domain.hyperparameters import Hyperparameters


def pixtral_tower(config: Hyperparameters, fmt: TensorFormat, *, prefix: str) -> Tensors:
    """``config`` is the vision configuration; transformers, configuration_pixtral.py has the defaults."""
    width = config.integer_or("hidden_size", 1024, low=1)
    intermediate = config.integer_or("intermediate_size", 4096, low=1)
    side, _ = patch_grid(config, image=1024, patch=16)
    config.ignore(*UNSIZED, "head_dim")
    return (
        *weight(f"{prefix}.patch_conv.weight", fmt, width, channels(config), side, side),
        *norm(f"{prefix}.ln_pre", width, fmt, bias=False),
        *(
            tensor
            for index in range(config.integer_or("num_hidden_layers", 24, low=1))
            for at in (f"{prefix}.transformer.layers.{index}",)
            for tensor in (
                *norm(f"{at}.attention_norm", width, fmt, bias=False),
                *projections(f"{at}.attention", width, fmt, bias=False),
                *norm(f"{at}.ffn_norm", width, fmt, bias=False),
                *three_step_mlp(f"{at}.feed_forward", width, intermediate, fmt),
            )
        ),
    )


def pixtral_tokens(config: Hyperparameters, *, merge: int) -> int:
    """Tokens of the largest square image: its merged patches, and a break or an end after each row of them."""
    _, patches = patch_grid(config, image=1024, patch=16)
    rows = patches // merge
    return rows * rows + rows
