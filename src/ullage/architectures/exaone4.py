"""EXAONE 4: norms after attention and MLP, norms on queries and keys, three sliding layers to one full layer."""

from ullage.architectures._decoder import Widths, widths
from ullage.architectures._dense import POST_NORMS, all_alike, by_type, dense, every, window
from ullage.domain.architecture import Mixer
from ullage.domain.family import Blueprint, Family
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError


def _period(config: Hyperparameters) -> int:
    """The pattern is a number, or a word such as LLLG whose last layer is the global one."""
    pattern = config.raw("sliding_window_pattern")
    if not isinstance(pattern, str):
        return config.integer_or("sliding_window_pattern", 4, low=1)
    if pattern != "L" * (len(pattern) - 1) + "G":
        raise UnsupportedModelError(f"sliding_window_pattern is {pattern!r}; only local layers with one global last are known")
    return len(pattern)


def _mixers(config: Hyperparameters, size: Widths) -> tuple[Mixer, ...]:
    """Without a window every layer is full."""
    period = _period(config)
    window_tokens = window(config, 4096)
    if window_tokens is None:
        config.ignore("layer_types")
        return all_alike(size, None)
    return by_type(config, size, window_tokens, every(period, size.layers))


def read(config: Hyperparameters) -> Blueprint:
    """No biases."""
    size = widths(config, positions=2048)
    return dense(config, size, mixers=_mixers(config, size), layer_norms=POST_NORMS, qk_norm="head")


FAMILY = Family(model_types=("exaone4",), read=read, title="EXAONE 4")
