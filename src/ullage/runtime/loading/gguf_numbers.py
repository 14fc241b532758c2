"""What a GGUF file says of the arithmetic, in the keys of a config.json: norms, rotation, caps, routing."""

from collections.abc import Callable, Mapping

from ullage.domain.hyperparameters import Json
from ullage.errors import UnsupportedModelError

Factors = Mapping[str, list[float]]
_SIGMOID = 2  # llama.cpp's number for the gating function
_PLAIN: Mapping[str, str] = {
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
_UNKNOWN = ("attention.temperature_scale", "attention.clamp_kqv", "residual_scale", "logit_scale", "embedding_scale", "attention.scale")
_TOKENS = {"bos_token_id": "tokenizer.ggml.bos_token_id", "eos_token_id": "tokenizer.ggml.eos_token_id"}
# llama.cpp keeps no scale of the queries for Gemma: the largest model of each release, known by its layers, divides by the width of a head
# of a model without a head_dim of its own (llama-model.cpp, load_hparams).
_LARGEST_GEMMA = {"gemma2": 46, "gemma3_text": 62}


class _Said:
    """The metadata of one architecture and the configuration so far."""

    def __init__(self, metadata: Mapping[str, Json], config: Mapping[str, Json]) -> None:
        self._metadata = metadata
        self.config = config

    def value(self, key: str) -> Json:
        return self._metadata.get(f"{self._metadata.get('general.architecture')}.{key}")

    def number(self, key: str, default: float) -> float:
        found = _short(self.value(key))
        return float(found) if isinstance(found, int | float) else default

    def whole(self, key: str) -> int:
        found = self.config.get(key)
        return found if isinstance(found, int) else 0


def _short(value: Json) -> Json:
    """A number that was written in fp32 as the configuration had it: 1e-05, not 9.999999747378752e-06."""
    return float(f"{value:.7g}") if isinstance(value, float) else value


def numbers(metadata: Mapping[str, Json], config: Mapping[str, Json], factors: Factors) -> dict[str, Json]:
    """The keys that ``formats.gguf_config`` leaves out because no byte depends on them. Raises UnsupportedModelError."""
    said = _Said(metadata, config)
    for key in _UNKNOWN:
        if said.value(key):
            raise UnsupportedModelError(f"the GGUF metadata {key} is {str(said.value(key))[:40]}, which the runtime has no rule for")
    found: dict[str, Json] = {key: _short(said.value(source)) for key, source in _PLAIN.items()}
    found |= {key: metadata.get(source) for key, source in _TOKENS.items()}
    found["rope_scaling"] = _scaling(said, factors)
    own = _OWN.get(str(config.get("model_type")))
    if own is not None:
        found |= own(said)
    return {key: value for key, value in found.items() if value is not None}


def _scaling(said: _Said, factors: Factors) -> Json:
    """Llama 3 files hold the factor of each frequency in place of the rule: that is longrope with one list and no temperature."""
    stated = said.config.get("rope_scaling")
    positions = said.whole("max_position_embeddings")
    alike = factors.get("rope_freqs.weight")
    if alike is not None:
        own: list[Json] = list(alike)
        return {
            "rope_type": "longrope",
            "short_factor": own,
            "long_factor": own,
            "attention_factor": 1.0,
            "original_max_position_embeddings": positions,
        }
    if "rope_factors_long.weight" in factors:
        return {
            "rope_type": "longrope",
            "long_factor": list(factors["rope_factors_long.weight"]),
            "short_factor": list(factors.get("rope_factors_short.weight", [])),
            "original_max_position_embeddings": said.value("rope.scaling.original_context_length"),
            **({"attention_factor": said.value("rope.scaling.attn_factor")} if said.value("rope.scaling.attn_factor") else {}),
        }
    return stated


def _gemma(said: _Said) -> dict[str, Json]:
    heads = said.whole("num_attention_heads")
    largest = said.whole("num_hidden_layers") == _LARGEST_GEMMA[str(said.config.get("model_type"))]
    own = said.whole("head_dim")
    return {"query_pre_attn_scalar": said.whole("hidden_size") // heads if largest and heads else own or None}


def _gemma3(said: _Said) -> dict[str, Json]:
    """Sliding layers keep the rotation of Gemma 2."""
    return {**_gemma(said), "rope_local_base_freq": said.number("rope.freq_base_swa", 10000.0)}


def _qwen3_experts(_: _Said) -> dict[str, Json]:
    return {"norm_topk_prob": True}  # llama.cpp does so for every model of this architecture


def _phi3(said: _Said) -> dict[str, Json]:
    heads = said.whole("num_attention_heads")
    width = said.whole("head_dim") or (said.whole("hidden_size") // heads if heads else 0)
    rotated = said.number("rope.dimension_count", 0)
    original = said.value("rope.scaling.original_context_length")
    return {"partial_rotary_factor": rotated / width if width and rotated else None, "original_max_position_embeddings": original}


def _gpt_oss(said: _Said) -> dict[str, Json]:
    """The published models do not round the borders of the scaled band."""
    stated = said.config.get("rope_scaling")
    beta = {"beta_fast": said.number("rope.scaling.yarn_beta_fast", 32.0), "beta_slow": said.number("rope.scaling.yarn_beta_slow", 1.0)}
    return {"rope_scaling": {**stated, **beta, "truncate": False} if isinstance(stated, dict) else None}


def _deepseek(said: _Said) -> dict[str, Json]:
    """Yarn's temperature is kept as a tenth of ``mscale_all_dim``; published models have the same in ``mscale``."""
    sigmoid = said.value("expert_gating_func") == _SIGMOID
    groups, used = said.value("expert_group_count"), said.value("expert_group_used_count")
    limited = isinstance(groups, int) and groups > 1
    stated, mscale = said.config.get("rope_scaling"), 10 * said.number("rope.scaling.yarn_log_multiplier", 0.0)
    temperature: dict[str, Json] = {"mscale": round(mscale, 6), "mscale_all_dim": round(mscale, 6)} if mscale else {}
    return {
        "rope_scaling": {**stated, **temperature} if isinstance(stated, dict) else None,
        "routed_scaling_factor": said.number("expert_weights_scale", 1.0),
        "norm_topk_prob": bool(said.value("expert_weights_norm")),
        "scoring_func": "sigmoid" if sigmoid else "softmax",
        "topk_method": "noaux_tc" if sigmoid else "group_limited_greedy" if limited else "greedy",
        "n_group": groups if limited else 1,
        "topk_group": used if limited else 1,
    }


_OWN: Mapping[str, Callable[[_Said], dict[str, Json]]] = {
    "gemma2": _gemma,
    "gemma3_text": _gemma3,
    "qwen3_moe": _qwen3_experts,
    "phi3": _phi3,
    "gpt_oss": _gpt_oss,
    "deepseek_v2": _deepseek,
    "deepseek_v3": _deepseek,
}
