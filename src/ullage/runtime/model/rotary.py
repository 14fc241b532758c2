"""Frequencies of the rotary schemes, from a configuration's ``rope_scaling`` or ``rope_parameters``."""

import math

from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError
from ullage.runtime.model.traits import Rotary


def plain(dim: int, theta: float, factor: float = 1.0) -> tuple[float, ...]:
    """Theta ** (-2 i / dim), each divided by ``factor``."""
    return tuple(theta ** (-2 * pair / dim) / factor for pair in range(dim // 2))


def _scaling(config: Hyperparameters, kind: str | None) -> Hyperparameters | None:
    for key in ("rope_scaling", "rope_parameters"):
        value = config.raw(key)
        if isinstance(value, dict):
            child = config.child(key)
            if kind is not None and isinstance(value.get(kind), dict):
                return child.child(kind)
            if not any(isinstance(item, dict) for item in value.values()):
                return child
    return None


def read(config: Hyperparameters, dim: int, *, theta: float = 10_000.0, kind: str | None = None, interleaved: bool = False) -> Rotary:
    """The scheme a configuration asks for; ``kind`` picks the layer type where schemes are listed by it."""
    scaling = _scaling(config, kind)
    base = config.number_or("rope_theta", theta)
    if scaling is None:
        return Rotary(dim=dim, frequencies=plain(dim, base), interleaved=interleaved)
    base = scaling.number_or("rope_theta", base)
    name = scaling.text_or("rope_type", scaling.text_or("type", "default"))
    match name:
        case "default" | "mrope":
            frequencies, magnitude = plain(dim, base), 1.0
        case "linear":
            frequencies, magnitude = plain(dim, base, scaling.number("factor")), 1.0
        case "llama3":
            frequencies, magnitude = _llama3(dim, base, scaling), 1.0
        case "yarn" | "deepseek_yarn":
            frequencies, magnitude = _yarn(dim, base, config, scaling)
        case "longrope" | "su":
            frequencies, magnitude = _longrope(dim, base, config, scaling)
        case _:
            raise UnsupportedModelError(
                f"rope_type {name!r} is not run by the runtime; it knows default, linear, llama3, yarn and longrope"
            )
    return Rotary(dim=dim, frequencies=frequencies, magnitude=magnitude, interleaved=interleaved)


def _llama3(dim: int, base: float, scaling: Hyperparameters) -> tuple[float, ...]:
    """Long waves are divided by the factor, short ones kept, those between blended (Llama 3.1)."""
    factor = scaling.number("factor")
    low, high = scaling.number("low_freq_factor"), scaling.number("high_freq_factor")
    original = scaling.number("original_max_position_embeddings")
    found = []
    for frequency in plain(dim, base):
        turns = original * frequency / (2 * math.pi)
        blend = min(1.0, max(0.0, (turns - low) / (high - low)))
        found.append((1 - blend) * frequency / factor + blend * frequency)
    return tuple(found)


def _yarn(dim: int, base: float, config: Hyperparameters, scaling: Hyperparameters) -> tuple[tuple[float, ...], float]:
    """Interpolated where waves are longer than the trained length, kept where they are short (arXiv 2309.00071)."""
    original = scaling.number_or("original_max_position_embeddings", config.number_or("max_position_embeddings", 0.0))
    factor = scaling.number_or("factor", 0.0) or config.number_or("max_position_embeddings", 0.0) / original
    fast, slow = scaling.number_or("beta_fast", 32.0), scaling.number_or("beta_slow", 1.0)

    def pair_of(turns: float) -> float:
        return dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = pair_of(fast), pair_of(slow)
    if scaling.flag("truncate", default=True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    spread = max(high - low, 0.001)
    found = []
    for pair, frequency in enumerate(plain(dim, base)):
        interpolated = min(1.0, max(0.0, (pair - low) / spread))
        found.append(frequency / factor * interpolated + frequency * (1 - interpolated))
    return tuple(found), _yarn_magnitude(factor, scaling)


def _yarn_magnitude(factor: float, scaling: Hyperparameters) -> float:
    if scaling.has("attention_factor"):
        return scaling.number("attention_factor")
    whole, own = scaling.number_or("mscale_all_dim", 0.0), scaling.number_or("mscale", 0.0)
    if whole and own:
        return temperature(factor, own) / temperature(factor, whole)
    return temperature(factor, 1.0)


def temperature(factor: float, weight: float) -> float:
    """YaRN's 0.1 m ln(s) + 1."""
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def sharpness(config: Hyperparameters) -> float:
    """What latent attention multiplies its scale by: the square of YaRN's temperature for ``mscale_all_dim``."""
    scaling = _scaling(config, None)
    if scaling is None or scaling.text_or("rope_type", scaling.text_or("type", "default")) == "default":
        return 1.0
    whole = scaling.number_or("mscale_all_dim", 0.0)
    return temperature(scaling.number("factor"), whole) ** 2 if whole else 1.0


def _longrope(dim: int, base: float, config: Hyperparameters, scaling: Hyperparameters) -> tuple[tuple[float, ...], float]:
    """The long factors where the model is longer than it was trained first, else the short ones (arXiv 2402.13753)."""
    reached = config.number_or("max_position_embeddings", 0.0)
    original = scaling.number_or("original_max_position_embeddings", config.number_or("original_max_position_embeddings", reached))
    factor = scaling.number_or("factor", reached / original if original else 1.0)
    numbers = scaling.raw("short_factor" if reached <= original else "long_factor")
    if not isinstance(numbers, list) or len(numbers) != dim // 2:
        raise UnsupportedModelError(f"longrope lists {numbers and len(numbers)} factors; {dim // 2} are needed, one per rotated pair")  # type: ignore[arg-type]
    stretched = tuple(frequency / float(number) for frequency, number in zip(plain(dim, base), numbers, strict=True))  # type: ignore[arg-type]
    magnitude = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    return stretched, scaling.number_or("attention_factor", magnitude)
