"""Mixtral 8x7B and 8x22B."""

from ullage.architectures._decoder import decoder, rotary, widths
from ullage.architectures._experts import Built, Mixture, grouped, pre_norm, routed
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block


def read(config: Hyperparameters) -> Blueprint:
    """Every layer routes; the window of the first drafts of Mixtral is off in what was published."""
    size = widths(config, dtype="bfloat16")
    mixture = Mixture(
        experts=config.integer("num_local_experts"),
        per_token=config.integer_or("num_experts_per_tok", 2, low=1),
        intermediate=config.integer("intermediate_size"),
        names=block.NUMBERED,
    )
    window = config.integer_or("sliding_window", 0) or None

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        return pre_norm(
            at,
            index,
            size,
            grouped(f"{at}.self_attn", index, size, window_tokens=window),
            routed(f"{at}.block_sparse_moe", index, size, mixture),
        )

    return decoder(config, size, layer=layer, rotary_tables=rotary(config, size.head_dim))


FAMILY = Family(model_types=("mixtral",), read=read, title="Mixtral")
