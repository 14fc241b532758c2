"""The families the runtime runs, by model type, and what of each matters to memory beyond its shape."""

from typing import Final

from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What a family does: how its norms compute, whether heads have norms, scores or logits are capped, and both parts run side by side.

    Capped scores are computed in plain tiles, since no kernel caps.
    """

    float_norms: bool = False  # norms keep and compute in float32
    layer_norms: bool = False
    head_norms: bool = False
    caps_scores: bool = False
    parallel: bool = False  # attention and feed-forward read the same norm
    local_angles: bool = False  # layers with a window turn by angles of their own
    sinks: bool = False  # heads have a logit more, which results are divided by in float32
    float_router: bool = False  # router logits are computed in float32
    corrected: bool = False  # routers keep a float32 correction for each expert


_PLAIN: Final = Family()
_LAYER_NORMS: Final = Family(layer_norms=True)
FAMILIES: Final[dict[str, Family]] = {
    "deepseek_v2": Family(float_router=True),
    "deepseek_v3": Family(float_router=True, corrected=True),
    "gemma": Family(float_norms=True),
    "gemma2": Family(float_norms=True, caps_scores=True),
    "gemma3_text": Family(float_norms=True, head_norms=True, local_angles=True),
    "gpt_oss": Family(sinks=True),
    "granite": _PLAIN,
    "llama": _PLAIN,
    "mistral": _PLAIN,
    "mixtral": _PLAIN,
    "phi": Family(layer_norms=True, parallel=True),
    "phi3": _PLAIN,
    "qwen2": _PLAIN,
    "qwen2_moe": _PLAIN,
    "qwen3": Family(head_norms=True),
    "qwen3_moe": Family(head_norms=True),
    "smollm3": _PLAIN,
    "stablelm": _LAYER_NORMS,
    "starcoder2": _LAYER_NORMS,
}
