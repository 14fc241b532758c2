"""The blocks vision and audio towers are made of."""

from ullage.domain.checkpoint import Role, Tensor, TensorFormat
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block

Tensors = tuple[Tensor, ...]


def weight(name: str, fmt: TensorFormat, *shape: int, role: Role = Role.VISION) -> Tensors:
    """One tower tensor."""
    return (block.weight(name, role, None, shape, fmt),)


def linear(name: str, out_features: int, in_features: int, fmt: TensorFormat, *, bias: bool = True, role: Role = Role.VISION) -> Tensors:
    """A linear layer of a tower."""
    return block.linear(name, role, None, out_features, in_features, fmt, bias=bias)


def norm(name: str, width: int, fmt: TensorFormat, *, bias: bool = True, role: Role = Role.VISION) -> Tensors:
    """A layer norm, or an RMS norm without a bias."""
    return block.norm(name, None, width, fmt, bias=bias, role=role)


def two_step_mlp(
    at: str, width: int, intermediate: int, fmt: TensorFormat, *, names: tuple[str, str] = ("fc1", "fc2"), role: Role = Role.VISION
) -> Tensors:
    """Up and down with biases."""
    return (
        *linear(f"{at}.{names[0]}", intermediate, width, fmt, role=role),
        *linear(f"{at}.{names[1]}", width, intermediate, fmt, role=role),
    )


def three_step_mlp(at: str, width: int, intermediate: int, fmt: TensorFormat, *, bias: bool = False, suffix: str = "") -> Tensors:
    """Gate, up and down."""
    return (
        *linear(f"{at}.gate_proj{suffix}", intermediate, width, fmt, bias=bias),
        *linear(f"{at}.up_proj{suffix}", intermediate, width, fmt, bias=bias),
        *linear(f"{at}.down_proj{suffix}", width, intermediate, fmt, bias=bias),
    )


def projections(at: str, width: int, fmt: TensorFormat, *, bias: bool, out_name: str = "o_proj", suffix: str = "") -> Tensors:
    """Separate query, key, value and output projections, all as wide as the tower."""
    names = ("q_proj", "k_proj", "v_proj", out_name)
    return tuple(tensor for name in names for tensor in linear(f"{at}.{name}{suffix}", width, width, fmt, bias=bias))


def encoder(  # noqa: PLR0913 - a block has this many facts
    prefix: str,
    layers: int,
    fmt: TensorFormat,
    *,
    width: int,
    intermediate: int,
    norms: tuple[str, str] = ("layer_norm1", "layer_norm2"),
    out_name: str = "out_proj",
    bias: bool = True,
    gated: bool = False,
) -> Tensors:
    """``layers`` blocks of two layer norms, attention and a plain MLP; ``gated`` ones scale what they add by a learned number."""
    return tuple(
        tensor
        for index in range(layers)
        for at in (f"{prefix}.{index}",)
        for tensor in (
            *norm(f"{at}.{norms[0]}", width, fmt),
            *projections(f"{at}.self_attn", width, fmt, bias=bias, out_name=out_name),
            *norm(f"{at}.{norms[1]}", width, fmt),
            *two_step_mlp(f"{at}.mlp", width, intermediate, fmt),
            *((*weight(f"{at}.gate_attn", fmt, 1), *weight(f"{at}.gate_ffn", fmt, 1)) if gated else ()),
        )
    )


def patch_grid(config: Hyperparameters, *, image: int, patch: int) -> tuple[int, int]:
    """(pixels of a patch's side, patches of an image's side) from ``image_size`` and ``patch_size``, with the class's defaults."""
    side = config.integer_or("patch_size", patch, low=1)
    return side, config.integer_or("image_size", image, low=side) // side


def channels(config: Hyperparameters) -> int:
    """Colour channels of an image."""
    return config.integer_or("num_channels", 3, low=1)


# What a tower's configuration says about values, frames or preprocessing, and not about sizes.
UNSIZED = (
    "architectures",
    "attention_heads",
    "dtype",
    "model_type",
    "num_attention_heads",
    "tie_word_embeddings",
    "torch_dtype",
    "vision_feature_select_strategy",
)
