"""MiniCPM 1 to 4: Llama's shape with scaled embeddings and residuals."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import dense
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters

SCALES = ("scale_emb", "scale_depth", "dim_model_base", "mup_denominator")


def read(config: Hyperparameters) -> Blueprint:
    """The scales are numbers of the configuration, not tensors."""
    config.ignore(*SCALES)
    config.must_be("num_experts", 0)
    bias = config.flag("attention_bias", default=False)
    return dense(config, widths(config, tied=True, positions=2048), qkv_bias=bias, out_bias=bias)


FAMILY = Family(model_types=("minicpm",), read=read, title="MiniCPM 1 to 4, dense")
