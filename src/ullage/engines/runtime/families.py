"""The families the runtime runs, by model type, and what of each matters to memory beyond its shape."""

from typing import Final

from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """``float_norms``: norms keep and compute in float32. ``caps_scores``: attention is computed in plain tiles, since no kernel caps."""

    float_norms: bool = False
    caps_scores: bool = False
    caps_logits: bool = False


_PLAIN: Final = Family()
FAMILIES: Final[dict[str, Family]] = {
    "llama": _PLAIN,
    "mistral": _PLAIN,
    "qwen2": _PLAIN,
    "qwen3": _PLAIN,
}
