"""The families the runtime runs, by model type: how each configuration fills the traits. Others are refused by name."""

from collections.abc import Callable
from typing import Final

from ullage.domain.architecture import Architecture, FullAttention, SlidingAttention
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError
from ullage.runtime.model import rotary
from ullage.runtime.model.traits import Activation, Norm, Traits

_ACTIVATIONS: Final = {
    "silu": Activation.SILU,
    "swish": Activation.SILU,
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
}


def traits(config: Hyperparameters, architecture: Architecture) -> Traits:
    """What the model computes. Raises UnsupportedModelError for a family or a setting that is not run."""
    read = FAMILIES.get(architecture.model_type)
    if read is None:
        known = ", ".join(sorted(FAMILIES))
        raise UnsupportedModelError(f"the runtime does not run the family {architecture.model_type!r}; it runs {known}")
    return read(config, architecture)


def _activation(config: Hyperparameters, default: str = "silu") -> Activation:
    name = config.text_or("hidden_activation", config.text_or("hidden_act", default))
    if name not in _ACTIVATIONS:
        raise UnsupportedModelError(f"the activation {name!r} is not run; known are {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]


def _head_dim(architecture: Architecture) -> int:
    for layer in architecture.layers:
        for mixer in layer.mixers:
            if isinstance(mixer, FullAttention | SlidingAttention):
                return mixer.key_dim
    raise UnsupportedModelError(f"{architecture.model_type} has no layer with ordinary attention")


def _llama(config: Hyperparameters, architecture: Architecture) -> Traits:
    dual = architecture.dual_chunk
    return Traits(
        norm=Norm.RMS,
        epsilon=config.number_or("rms_norm_eps", 1e-6),
        activation=_activation(config),
        rotary=rotary.read(config, _head_dim(architecture)),
        length_temperature_from=None if dual is None else dual.original_max_tokens or None,
    )


FAMILIES: Final[dict[str, Callable[[Hyperparameters, Architecture], Traits]]] = {
    "llama": _llama,
    "mistral": _llama,
    "qwen2": _llama,
    "qwen3": _llama,
}
