"""The families the runtime runs, by model type: how each configuration fills the traits. Others are refused by name."""

from collections.abc import Callable
from math import sqrt
from typing import Final

from ullage.domain.architecture import Architecture, FullAttention, SlidingAttention
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError
from ullage.frozen import replace
from ullage.runtime.model import rotary, routing
from ullage.runtime.model.traits import CLAMP_ALPHA, CLAMP_LIMIT, Activation, Norm, Rotary, Traits

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


def _turned(config: Hyperparameters, architecture: Architecture, default: float) -> int:
    """How many elements of a head turn."""
    stated = config.raw("rope_parameters")
    if isinstance(stated, dict) and "partial_rotary_factor" in stated:
        default = config.child("rope_parameters").number("partial_rotary_factor")
    return int(_head_dim(architecture) * config.number_or("partial_rotary_factor", default))


def _refuse_head_norms(config: Hyperparameters) -> None:
    if config.flag("qk_layernorm", default=False):
        raise UnsupportedModelError("qk_layernorm is true: norms of heads with a mean and a bias are not run")


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


def _gemma1(config: Hyperparameters, architecture: Architecture) -> Traits:
    """Its activation is the tanh one whatever ``hidden_act`` says: the published files say GELU and mean that."""
    scale = _head_dim(architecture) ** -0.5
    return replace(_gemma(config, architecture, local=False), activation=Activation.GELU_TANH, attention_scale=scale)


def _gemma2(config: Hyperparameters, architecture: Architecture) -> Traits:
    return _gemma(config, architecture, local=False)


def _gemma3(config: Hyperparameters, architecture: Architecture) -> Traits:
    return _gemma(config, architecture, local=True)


def _phi(config: Hyperparameters, architecture: Architecture) -> Traits:
    _refuse_head_norms(config)
    return Traits(
        norm=Norm.LAYER,
        epsilon=config.number_or("layer_norm_eps", 1e-5),
        activation=_activation(config, "gelu_new"),
        rotary=rotary.read(config, _turned(config, architecture, 0.5)),
        parallel=True,
    )


def _phi3(config: Hyperparameters, architecture: Architecture) -> Traits:
    return Traits(
        norm=Norm.RMS,
        epsilon=config.number_or("rms_norm_eps", 1e-5),
        activation=_activation(config),
        rotary=rotary.read(config, _turned(config, architecture, 1.0)),
    )


def _granite(config: Hyperparameters, architecture: Architecture) -> Traits:
    """Llama with a number of its own on embeddings, scores, residuals and logits."""
    return replace(
        _llama(config, architecture),
        attention_scale=config.number_or("attention_multiplier", 1.0),
        embedding_scale=config.number_or("embedding_multiplier", 1.0),
        residual_scale=config.number_or("residual_multiplier", 1.0),
        logit_scale=1 / config.number_or("logits_scaling", 1.0),
    )


def _smollm3(config: Hyperparameters, architecture: Architecture) -> Traits:
    """Llama with layers that go without positions: every fourth, unless they are listed."""
    layers = len(architecture.layers)
    period = config.integer_or("no_rope_layer_interval", 4, low=1)
    listed = config.integers("no_rope_layers", length=layers) if config.has("no_rope_layers") else ()
    turns = listed or tuple((index + 1) % period for index in range(layers))
    return replace(
        _llama(config, architecture),
        rotary=rotary.read(config, _head_dim(architecture), theta=2_000_000.0),
        unrotated_layers=frozenset(index for index, turn in enumerate(turns) if not turn),
    )


def _layer_norms(config: Hyperparameters, architecture: Architecture) -> Traits:
    """StableLM and StarCoder2: Llama with layer norms; StableLM turns a quarter of each head."""
    _refuse_head_norms(config)
    stable = architecture.model_type == "stablelm"
    return Traits(
        norm=Norm.LAYER,
        epsilon=config.number_or("layer_norm_eps" if stable else "norm_epsilon", 1e-5),
        activation=_activation(config, "silu" if stable else "gelu_pytorch_tanh"),
        rotary=rotary.read(config, _turned(config, architecture, 0.25 if stable else 1.0)),
    )


def _routed(config: Hyperparameters, architecture: Architecture) -> Traits:
    return replace(_llama(config, architecture), routing=routing.read(config, architecture.model_type))


def _gpt_oss(config: Hyperparameters, architecture: Architecture) -> Traits:
    if config.number_or("swiglu_limit", CLAMP_LIMIT) != CLAMP_LIMIT or config.number_or("swiglu_alpha", CLAMP_ALPHA) != CLAMP_ALPHA:
        raise UnsupportedModelError(f"swiglu_limit {CLAMP_LIMIT} and swiglu_alpha {CLAMP_ALPHA} are run, no others")
    return replace(_routed(config, architecture), activation=Activation.CLAMPED_SWIGLU)


def _deepseek(config: Hyperparameters, architecture: Architecture) -> Traits:
    """Rotary pairs are neighbours; YaRN's temperature is part of the scale of attention."""
    rope, nope = config.integer("qk_rope_head_dim"), config.integer("qk_nope_head_dim")
    turned = rotary.read(config, rope, interleaved=config.flag("rope_interleave", default=True))
    return Traits(
        norm=Norm.RMS,
        epsilon=config.number_or("rms_norm_eps", 1e-6),
        activation=_activation(config),
        rotary=turned,
        attention_scale=rotary.sharpness(config) / sqrt(nope + rope),
        routing=routing.read(config, architecture.model_type),
    )


FAMILIES: Final[dict[str, Callable[[Hyperparameters, Architecture], Traits]]] = {
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
    "gemma": _gemma1,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "gpt_oss": _gpt_oss,
    "granite": _granite,
    "llama": _llama,
    "mistral": _llama,
    "mixtral": _routed,
    "phi": _phi,
    "phi3": _phi3,
    "qwen2": _llama,
    "qwen2_moe": _routed,
    "qwen3": _llama,
    "qwen3_moe": _routed,
    "smollm3": _smollm3,
    "stablelm": _layer_norms,
    "starcoder2": _layer_norms,
}
