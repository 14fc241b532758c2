"""Mistral Small 4: DeepSeek's latent attention and experts under Mistral's name."""

from ullage.architectures._mla import latent_mixture
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """Every layer routes."""
    return latent_mixture(config)


FAMILY = Family(model_types=("mistral4",), read=read, title="Mistral Small 4")
