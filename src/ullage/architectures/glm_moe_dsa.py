"""GLM-5: latent attention with a sparse indexer, which GLM-5.2 lets some layers share."""

from ullage.architectures._mla import indexer_of, latent_mixture
from ullage.domain.architecture import Indexer
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


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
            return own if listed[index] == "full" else None
        return own if max(index - offset + 1, 0) % every == 0 else None

    # The published draft layer names no token table and no head of its own (modules_to_not_convert of GLM-5-FP8).
    return latent_mixture(config, first_dense=3, indexer=indexer, own_tables=False)


def _listed(config: Hyperparameters, layers: int) -> tuple[str, ...]:
    """The type of each layer's indexer; a list of another length says nothing about layers, then the schedule holds."""
    if config.has("indexer_types"):
        words = config.words("indexer_types")
        return words if len(words) == layers else ()
    if not config.has("index_topk_pattern"):
        return ()
    pattern = config.raw("index_topk_pattern")
    letters = pattern if isinstance(pattern, str) else config.words("index_topk_pattern", length=layers)
    return tuple({"F": "full", "S": "shared"}.get(letter, letter) for letter in letters)


FAMILY = Family(model_types=("glm_moe_dsa",), read=read, title="GLM-5")
