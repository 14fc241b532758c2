"""Phi-3.5-MoE and Phi-mini-MoE."""

from ullage.architectures._decoder import decoder, rotary, widths
from ullage.architectures._experts import Built, grouped, numbered_mixture, pre_norm, routed
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """Mixtral's routing with layer norms, and biases in attention and head."""
    size = widths(config, dtype="bfloat16")
    bias = config.flag("attention_bias", default=False)
    mixture = numbered_mixture(config)
    window = config.integer_or("sliding_window", 0) or None
    config.ignore("expert_dropout", "input_jitter_noise", "original_max_position_embeddings")

    def layer(index: int) -> Built:
        at = f"model.layers.{index}"
        attending = grouped(f"{at}.self_attn", index, size, window_tokens=window, qkv_bias=bias, out_bias=bias)
        return pre_norm(at, index, size, attending, routed(f"{at}.block_sparse_moe", index, size, mixture), norm_bias=True)

    return decoder(
        config,
        size,
        layer=layer,
        rotary_tables=rotary(config, size.head_dim),
        norm_bias=True,
        head_bias=config.flag("lm_head_bias", default=False),
    )


FAMILY = Family(model_types=("phimoe",), read=read, title="Phi-3.5-MoE")
