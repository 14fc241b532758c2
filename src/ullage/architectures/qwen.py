"""Qwen 1, published with code of its own: fused projections, and an MLP stated at twice its width."""

from ullage.architectures._decoder import Spelling, widths
from ullage.architectures._dense import fused_qkv, norms, output, stack
from ullage.architectures._rotary import rotary
from ullage.domain.architecture import DenseFeedForward
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block

_SPELLING = Spelling(kv_heads=(), head_dim=("kv_channels",), positions=("max_position_embeddings", "seq_length"))


def _dtype(config: Hyperparameters) -> str:
    """The type has a flag each; with none set the code takes bfloat16 where the device knows it."""
    flags = {key: config.flag(key, default=False) for key in ("bf16", "fp16", "fp32")}
    words = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
    return next((words[key] for key, on in flags.items() if on), "bfloat16")


def read(config: Hyperparameters) -> Blueprint:
    """Queries, keys and values always have a bias; nothing else has one unless ``no_bias`` is false."""
    size = widths(config, dtype=_dtype(config), positions=8192, spelling=_SPELLING)
    width = config.integer("intermediate_size", low=2) // 2
    bias = not config.flag("no_bias", default=True)
    config.ignore("seq_length", "use_dynamic_ntk")

    def parts(at: str, index: int) -> tuple[Tensor, ...]:
        return (
            *fused_qkv(f"{at}.attn.c_attn", index, size, bias=True),
            *output(f"{at}.attn.c_proj", index, size, bias=bias),
            *block.linear(f"{at}.mlp.w1", Role.UP, index, width, size.hidden, size.fmt, bias=bias),
            *block.linear(f"{at}.mlp.w2", Role.GATE, index, width, size.hidden, size.fmt, bias=bias),
            *block.linear(f"{at}.mlp.c_proj", Role.DOWN, index, size.hidden, width, size.fmt, bias=bias),
            *norms(at, ("ln_1", "ln_2"), index, size),
        )

    return stack(
        config,
        size,
        "transformer.h",
        parts,
        DenseFeedForward(intermediate=width),
        rotary_tables=rotary(config, int(size.head_dim * config.number_or("rotary_pct", 1.0)), size.positions),
        prefix="transformer",
        table="wte",
        final_norm="ln_f",
    )


FAMILY = Family(model_types=("qwen",), read=read, title="Qwen 1")
