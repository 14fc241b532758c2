"""GLM-4.7-Flash: GLM with latent attention."""

from ullage.architectures._mla import latent_mixture
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """DeepSeek-V3's layers, one of them dense."""
    return latent_mixture(config, first_dense=1)


FAMILY = Family(model_types=("glm4_moe_lite",), read=read, title="GLM-4.7-Flash")
