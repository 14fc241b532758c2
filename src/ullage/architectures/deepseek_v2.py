"""DeepSeek-V2, V2-Lite and Coder-V2: the first latent attention."""

from ullage.architectures._mla import latent_mixture
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """Latent attention, one dense layer in what was published, shared experts."""
    return latent_mixture(config)


FAMILY = Family(model_types=("deepseek_v2",), read=read, title="DeepSeek V2 and Coder V2")
