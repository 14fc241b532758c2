"""Mixtral 8x7B and 8x22B."""

from ullage.architectures._decoder import decoder, rotary, widths
from ullage.architectures._experts import Built, grouped, numbered_mixture, pre_norm, routed
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """Every layer routes; the window of the first drafts of Mixtral is off in what was published."""
    size = widths(config, dtype="bfloat16")
    mixture = numbered_mixture(config)
    window = config.integer_or("sliding_window", 0) or None

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        attending = grouped(f"{at}.self_attn", index, size, window_tokens=window)
        return pre_norm(at, index, size, attending, routed(f"{at}.block_sparse_moe", index, size, mixture))

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, size.head_dim))


FAMILY = Family(model_types=("mixtral",), read=read, title="Mixtral")
