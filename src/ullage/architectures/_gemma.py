"""What Gemma 3 and 4 share: norms on both sides of attention and MLP, and five windows for each full layer."""

from typing import Final

from ullage.domain.checkpoint import Tensor, TensorFormat
from ullage.domain.hyperparameters import Hyperparameters
from ullage.formulas import tensors as block

_SANDWICH: Final = ("input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm", "post_feedforward_layernorm")
SLIDING: Final = "sliding_attention"
FULL: Final = "full_attention"


def sandwich_norms(at: str, index: int, hidden: int, fmt: TensorFormat) -> tuple[Tensor, ...]:
    """One norm before and one after the attention and the MLP."""
    return tuple(tensor for name in _SANDWICH for tensor in block.norm(f"{at}.{name}", index, hidden, fmt))


def layer_kinds(config: Hyperparameters, layers: int) -> tuple[str, ...]:
    """Each layer's kind: as listed, or a full layer after every ``sliding_window_pattern`` - 1 windows (6 where it is not said)."""
    pattern = config.integer_or("sliding_window_pattern", config.integer_or("_sliding_window_pattern", 6, low=1), low=1)
    if config.has("layer_types"):
        return config.words("layer_types", length=layers)
    return tuple(SLIDING if (index + 1) % pattern else FULL for index in range(layers))
