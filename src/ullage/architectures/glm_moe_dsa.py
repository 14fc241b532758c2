"""GLM-5: latent attention with a sparse indexer, which GLM-5.2 lets some layers share."""

from typing import Final

from ullage.architectures._mla import indexer_of, latent_mixture
from ullage.domain.architecture import Indexer
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError

OWNS: Final = {"full": True, "F": True, "shared": False, "S": False}  # whether a layer of this type has an indexer


def read(config: Hyperparameters) -> Blueprint:
    """A layer whose indexer type is "shared" has no indexer and reuses the selection of the last "full" one."""
    own = indexer_of(config)
    layers = config.integer("num_hidden_layers")
    listed = _listed(config, layers)
    every = config.integer_or("index_topk_freq", 1, low=1)
    offset = config.integer_or("index_skip_topk_offset", 2)
    config.ignore("index_share_for_mtp_iteration", "indexer_rope_interleave", "layer_types", "moe_router_dtype")
    config.ignore("indexer_types_note")  # the catalogue's word on a list it shortened

    def indexer(index: int) -> Indexer | None:
        if listed and index < layers:
            return own if OWNS[listed[index]] else None
        return own if max(index - offset + 1, 0) % every == 0 else None

    # The published draft layer names no token table and no head of its own (modules_to_not_convert of GLM-5-FP8).
    return latent_mixture(config, first_dense=3, indexer=indexer, own_tables=False)


def _listed(config: Hyperparameters, layers: int) -> tuple[str, ...]:
    """The type of each layer's indexer; a list of another length says nothing about layers, then the schedule holds."""
    words: tuple[str, ...] = ()
    if config.has("indexer_types"):
        words = config.words("indexer_types")
    elif config.has("index_topk_pattern"):
        pattern = config.raw("index_topk_pattern")
        words = tuple(pattern) if isinstance(pattern, str) else config.words("index_topk_pattern")
    unknown = set(words) - set(OWNS)
    if unknown:
        raise UnsupportedModelError(f"an indexer is of type {min(unknown)!r}; only {', '.join(OWNS)} are known for this family")
    return words if len(words) == layers else ()


FAMILY = Family(model_types=("glm_moe_dsa",), read=read, title="GLM-5")
