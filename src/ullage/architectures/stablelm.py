"""StableLM: layer norms, rotary positions on a quarter of each head, norms per head in the later ones."""

from ullage.architectures._decoder import Widths, widths
from ullage.architectures._dense import PRE_NORMS, dense
from ullage.architectures._rotary import rotary, rotary_dim
from ullage.domain.checkpoint import Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


def _head_norms(size: Widths) -> tuple[Tensor, ...]:
    """Every head has a norm of its own."""
    return tuple(
        tensor
        for index in range(size.layers)
        for letter, heads in (("q", size.query_heads), ("k", size.kv_heads))
        for head in range(heads)
        for tensor in block.norm(f"model.layers.{index}.self_attn.{letter}_layernorm.norms.{head}", index, size.head_dim, size.fmt)
    )


def read(config: Hyperparameters) -> Blueprint:
    """A parallel residual shares one norm between attention and MLP."""
    size = widths(config, kv_heads=32, positions=4096)
    parallel = config.flag("use_parallel_residual", default=False)
    return dense(
        config,
        size,
        qkv_bias=config.flag("use_qkv_bias", default=False),
        layer_norms=PRE_NORMS[:1] if parallel else PRE_NORMS,
        norm_bias=True,
        rotary_tables=rotary(config, rotary_dim(config, size.head_dim, 0.25), size.positions),
        after=_head_norms(size) if config.flag("qk_layernorm", default=False) else (),
    )


FAMILY = Family(model_types=("stablelm",), read=read, title="StableLM 2 and 3B")
