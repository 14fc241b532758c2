"""DeepSeek-V3 and R1, Kimi K2, Moonlight."""

from ullage.architectures._mla import latent_mixture
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """V2's layers; a draft layer with its own copies of token table and head follows them."""
    return latent_mixture(config, first_dense=3)


FAMILY = Family(model_types=("deepseek_v3", "kimi_k2"), read=read, title="DeepSeek V3 and R1, Kimi K2")
