"""DeepSeek-V3.2: V3 with a sparse indexer in every layer."""

from ullage.architectures._mla import indexer_of, latent_mixture
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """Each layer keeps one indexer key per token beside the latent."""
    indexer = indexer_of(config)
    return latent_mixture(config, first_dense=3, indexer=lambda _: indexer)


FAMILY = Family(model_types=("deepseek_v32",), read=read, title="DeepSeek V3.2")
