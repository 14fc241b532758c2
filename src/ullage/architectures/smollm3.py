"""SmolLM3: Llama's shape in which every fourth layer goes without positions."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import by_type, dense, window
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters


def read(config: Hyperparameters) -> Blueprint:
    """With the sliding window on, the layers without positions are the sliding ones."""
    size = widths(config, tied=True, kv_heads=4, positions=32768)
    window_tokens = window(config) if config.flag("use_sliding_window", default=False) else None
    config.ignore("sliding_window")
    period = config.integer_or("no_rope_layer_interval", 4, low=1)
    rotated = config.integers("no_rope_layers", length=size.layers) if config.has("no_rope_layers") else ()
    has_rope = rotated or tuple(int((index + 1) % period != 0) for index in range(size.layers))
    kinds = ("sliding_attention" if window_tokens and not rope else "full_attention" for rope in has_rope)
    bias = config.flag("attention_bias", default=False)
    return dense(
        config,
        size,
        mixers=by_type(config, size, window_tokens, kinds),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=config.flag("mlp_bias", default=False),
    )


FAMILY = Family(model_types=("smollm3",), read=read, title="SmolLM3")
