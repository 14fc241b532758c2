"""What both ExLlama formats share: a fractional number of bits a weight, and another for the head."""

import re
from collections.abc import Callable
from fractions import Fraction

from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.errors import UnsupportedModelError
from ullage.formats._modules import convert, linears
from ullage.formats._patterns import patterns

_WORD = re.compile(r"(exl[23])-([2-8](?:\.\d{1,2})?)bpw(?:-h([3-8]))?")
_USUAL_HEAD_BITS = 6
_UNQUANTISED = 16
_NONE = patterns(())


def bits(config: Hyperparameters, key: str, default: float | None = None) -> Fraction:
    """Bits a weight, to the hundredth. Raises UnsupportedModelError outside 1 to 8."""
    value = config.number_or(key, 0.0 if default is None else default)
    if not 1 <= value <= 8 and value != _UNQUANTISED:  # noqa: PLR2004 - what the kernels have
        raise UnsupportedModelError(f"{key} is {value}; 1 to 8 bits a weight are known")
    return Fraction(round(value * 100), 100)


def apply_bits(
    tensors: tuple[Tensor, ...], config: Hyperparameters, layout: Callable[[Tensor, Fraction], tuple[Tensor, ...]]
) -> tuple[tuple[Tensor, ...], str]:
    """All linear layers on average in ``bits``, the head in ``head_bits``; embeddings stay. Only headers tell each layer's own bits."""
    average, of_head = bits(config, "bits"), bits(config, "head_bits", _USUAL_HEAD_BITS)
    config.ignore("version", "calibration", "out_scales", "tensor_storage", "codebook")
    name = f"{config.text('quant_method')} {float(average):g} bpw"

    def of_tensor(weight: Tensor) -> tuple[Tensor, ...]:
        wanted = of_head if weight.role is Role.HEAD else average
        return (weight,) if wanted == _UNQUANTISED else layout(weight, wanted)

    return convert(tensors, linears(tensors, skip=_NONE, head=True), of_tensor), name


def meaning(word: str, method: str) -> dict[str, Json] | None:
    """``exl2-4.5bpw`` or ``exl3-3bpw-h6``."""
    found = _WORD.fullmatch(word)
    if found is None or found[1] != method:
        return None
    return {"quant_method": method, "bits": float(found[2]), "head_bits": int(found[3] or _USUAL_HEAD_BITS)}
