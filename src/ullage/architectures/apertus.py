"""Apertus: a plain MLP whose activation is learned, norms on queries and keys."""

from ullage.architectures._decoder import Widths, widths
from ullage.architectures._dense import dense
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


def _activations(size: Widths) -> tuple[Tensor, ...]:
    """Two numbers in each layer."""
    return tuple(
        block.weight(f"model.layers.{index}.mlp.act_fn.{name}", Role.OTHER, index, (1,), size.fmt)
        for index in range(size.layers)
        for name in ("alpha_p", "alpha_n")
    )


def read(config: Hyperparameters) -> Blueprint:
    """Only the activation of the published models, xIELU."""
    size = widths(config, positions=65536)
    config.must_be("hidden_act", "xielu")
    config.must_be("qk_norm", True)
    config.must_be("post_norm", False)
    bias = config.flag("attention_bias", default=False)
    return dense(
        config,
        size,
        qkv_bias=bias,
        out_bias=bias,
        ungated=("up_proj", "down_proj"),
        layer_norms=("attention_layernorm", "feedforward_layernorm"),
        qk_norm="head",
        after=_activations(size),
    )


FAMILY = Family(model_types=("apertus",), read=read, title="Apertus")
