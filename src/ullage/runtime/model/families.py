"""The families the runtime runs, by model type: how each configuration fills the traits. Others are refused by name."""

from collections.abc import Callable
from math import sqrt
from typing import Final

from ullage.domain.architecture import Architecture, FullAttention, SlidingAttention
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError
from ullage.frozen import replace
from ullage.runtime.model import rotary
from ullage.runtime.model.traits import Activation, Norm, Rotary, Traits

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
    dual = architecture.dual_chunk
    return replace(read(config, architecture), length_temperature_from=None if dual is None else dual.original_max_tokens or None)


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
    return Traits(
        norm=Norm.RMS,
        epsilon=config.number_or("rms_norm_eps", 1e-6),
        activation=_activation(config),
        rotary=rotary.read(config, _head_dim(architecture)),
    )


def _gemma(config: Hyperparameters, architecture: Architecture, *, local: bool) -> Traits:
    """Norms that add one, embeddings scaled by the root of the width, tanh GELU, a scale of its own."""
    head_dim = _head_dim(architecture)
    cap, last = config.number_or("attn_logit_softcapping", 0.0), config.number_or("final_logit_softcapping", 0.0)
    return Traits(
        norm=Norm.RMS_PLUS_ONE,
        epsilon=config.number_or("rms_norm_eps", 1e-6),
        activation=_activation(config, "gelu_pytorch_tanh"),
        rotary=rotary.read(config, head_dim, theta=1_000_000.0 if local else 10_000.0, kind="full_attention"),
        local_rotary=_local_rotary(config, head_dim) if local else None,
        attention_scale=config.number_or("query_pre_attn_scalar", 256.0 if local else float(head_dim)) ** -0.5,
        attention_softcap=cap or None,
        final_softcap=last or None,
        embedding_scale=sqrt(architecture.hidden_size),
    )


def _local_rotary(config: Hyperparameters, head_dim: int) -> Rotary:
    """Of the layers with a window: unscaled, with a base of its own."""
    by_kind = config.raw("rope_parameters")
    if isinstance(by_kind, dict) and isinstance(by_kind.get("sliding_attention"), dict):
        return rotary.read(config, head_dim, kind="sliding_attention")
    return Rotary(dim=head_dim, frequencies=rotary.plain(head_dim, config.number_or("rope_local_base_freq", 10_000.0)))


def _gemma2(config: Hyperparameters, architecture: Architecture) -> Traits:
    return _gemma(config, architecture, local=False)


def _gemma3(config: Hyperparameters, architecture: Architecture) -> Traits:
    return _gemma(config, architecture, local=True)


def _phi(config: Hyperparameters, architecture: Architecture) -> Traits:
    head_dim = _head_dim(architecture)
    if config.flag("qk_layernorm", default=False):
        raise UnsupportedModelError("qk_layernorm is true: norms of heads with a mean and a bias are not run")
    return Traits(
        norm=Norm.LAYER,
        epsilon=config.number_or("layer_norm_eps", 1e-5),
        activation=_activation(config, "gelu_new"),
        rotary=rotary.read(config, int(head_dim * config.number_or("partial_rotary_factor", 0.5))),
        parallel=True,
    )


def _phi3(config: Hyperparameters, architecture: Architecture) -> Traits:
    turned = int(_head_dim(architecture) * config.number_or("partial_rotary_factor", 1.0))
    return Traits(
        norm=Norm.RMS,
        epsilon=config.number_or("rms_norm_eps", 1e-5),
        activation=_activation(config),
        rotary=rotary.read(config, turned),
    )


FAMILIES: Final[dict[str, Callable[[Hyperparameters, Architecture], Traits]]] = {
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "llama": _llama,
    "mistral": _llama,
    "phi": _phi,
    "phi3": _phi3,
    "qwen2": _llama,
    "qwen3": _llama,
}
