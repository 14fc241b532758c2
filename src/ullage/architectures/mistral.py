"""Mistral 7B to Large and Ministral: Llama's shape, with a window over every layer where one is set."""

from ullage.architectures._decoder import widths
from ullage.architectures._dense import all_alike, by_type, dense, window
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters

# The length, the key heads and the window that stand where the configuration is silent.
_DEFAULTS = {"mistral": (131072, 4096), "ministral": (131072, 4096), "ministral3": (262144, None)}


def read(config: Hyperparameters) -> Blueprint:
    """No biases; a window of null means full attention, which is not the same as no window being stated."""
    positions, window_default = _DEFAULTS.get(config.text_or("model_type", ""), _DEFAULTS["mistral"])
    size = widths(config, kv_heads=8, positions=positions)
    config.ignore("sliding_window_size")  # another program's setting, kept in some conversions
    window_tokens = window(config, window_default)
    mixers = by_type(config, size, window_tokens, ()) if config.has("layer_types") else all_alike(size, window_tokens)
    return dense(config, size, mixers=mixers)


FAMILY = Family(model_types=tuple(_DEFAULTS), read=read, title="Mistral and Ministral")
