"""How long a model is, and the rotary tables engines precompute for it."""

from ullage.domain.architecture import RotaryTable
from ullage.domain.hyperparameters import Hyperparameters

# These shape the table's values, not its size.
_SCALING_KEYS = (
    "attention_factor",
    "attn_factor",
    "beta_fast",
    "beta_slow",
    "extrapolation_factor",
    "factor",
    "finetuned",
    "high_freq_factor",
    "llama_4_scaling_beta",
    "long_factor",
    "long_mscale",
    "low_freq_factor",
    "max_position_embeddings",
    "mrope_interleaved",
    "mrope_section",
    "mscale",
    "mscale_all_dim",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "rope_theta",
    "short_factor",
    "short_mscale",
    "truncate",
)


def _scaling(config: Hyperparameters) -> Hyperparameters | None:
    """The one scaling of all layers; ``rope_parameters`` is the newer key. Scalings listed by layer type are the family's to read."""
    config.ignore("original_max_position_embeddings")  # read where the scaling needs it
    for key in ("rope_scaling", "rope_parameters"):
        value = config.raw(key)
        if isinstance(value, dict) and not any(isinstance(item, dict) for item in value.values()):
            scaling = config.child(key)
            scaling.ignore(*_SCALING_KEYS)
            return scaling
    return None


def _kind(scaling: Hyperparameters | None) -> str:
    return "default" if scaling is None else scaling.text_or("rope_type", scaling.text_or("type", "default"))


def _original(config: Hyperparameters, scaling: Hyperparameters, positions: int) -> int:
    key = "original_max_position_embeddings"
    return scaling.integer_or(key, config.integer_or(key, positions))


def context_tokens(config: Hyperparameters, positions: int) -> int:
    """How far the model reaches when ``positions`` are stated.

    Linear and dynamic scaling multiply the stated length and yarn the original one; llama3 and longrope state the reached one.
    """
    scaling = _scaling(config)
    kind = _kind(scaling)
    if scaling is None or not positions:
        return positions
    factor = scaling.number_or("factor", 1.0)
    if kind in {"linear", "dynamic"}:
        return int(positions * factor)
    if kind in {"yarn", "deepseek_yarn"}:
        return int(_original(config, scaling, positions) * factor)
    return positions


def rotary(config: Hyperparameters, dim: int, positions: int | None = None) -> tuple[RotaryTable, ...]:
    """The tables engines precompute: as long as the model, or as its scaling extends it; longrope has a short one besides."""
    stated = config.integer_or("max_position_embeddings", 0) if positions is None else positions
    if not stated or not dim:
        return ()
    scaling = _scaling(config)
    whole = RotaryTable(dim=dim, positions=context_tokens(config, stated))
    if scaling is not None and _kind(scaling) in {"longrope", "su"}:
        return (RotaryTable(dim=dim, positions=_original(config, scaling, stated)), whole)
    return (whole,)


def rotary_dim(config: Hyperparameters, head_dim: int, fraction: float = 1.0) -> int:
    """How many of a head's elements are rotated; ``fraction`` is the family's default."""
    scaling = _scaling(config)
    own = scaling.number_or("partial_rotary_factor", fraction) if scaling is not None else fraction
    return int(head_dim * config.number_or("partial_rotary_factor", own))
