"""Command R and Aya: one norm for attention and MLP side by side, tied token table; Command A adds windows."""

from ullage.architectures._decoder import Widths, widths
from ullage.architectures._dense import PRE_NORMS, all_alike, by_type, dense, every
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


def _head_norms(size: Widths) -> tuple[Tensor, ...]:
    """A weight for every element of every head."""
    return tuple(
        block.weight(f"model.layers.{index}.self_attn.{name}.weight", Role.NORM, index, (heads, size.head_dim), size.fmt)
        for index in range(size.layers)
        for name, heads in (("q_norm", size.query_heads), ("k_norm", size.kv_heads))
    )


def read(config: Hyperparameters) -> Blueprint:
    """Cohere 2 has three sliding layers to one full layer."""
    size = widths(config, tied=True, positions=8192)
    bias = config.flag("attention_bias", default=False)
    mixers = all_alike(size, None)
    if config.text("model_type") == "cohere2":
        period = config.integer_or("sliding_window_pattern", 4, low=1)
        mixers = by_type(config, size, config.integer_or("sliding_window", 4096), every(period, size.layers))
    return dense(
        config,
        size,
        mixers=mixers,
        layer_norms=PRE_NORMS[:1],
        qkv_bias=bias,
        out_bias=bias,
        after=_head_norms(size) if config.flag("use_qk_norm", default=False) else (),
    )


FAMILY = Family(model_types=("cohere", "cohere2"), read=read, title="Command R, Aya, Command A")
