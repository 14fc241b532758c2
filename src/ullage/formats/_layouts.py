"""How the schemes lay one weight out as several tensors. A weight is (..., out_features, in_features): N and K below."""

from ullage.catalog.tensor_formats import E8M0, F16, F32, FP8_E4M3, I8, I32, U8
from ullage.domain.checkpoint import Part, Tensor, TensorFormat
from ullage.errors import UnsupportedModelError
from ullage.formats._modules import beside, is_expert
from ullage.formulas.sharding import ceil_div
from ullage.frozen import replace

INT32_BITS = 32


def stored(weight: Tensor, suffix: str, shape: tuple[int, ...], fmt: TensorFormat, part: Part = Part.WEIGHT) -> Tensor:
    """A tensor beside ``weight``, of the same role and layer, as often as ``weight`` (stacked leading dimensions stay)."""
    return replace(beside(weight, suffix), shape=(*weight.shape[:-2], *shape), format=fmt, part=part)


def scale(weight: Tensor, suffix: str, shape: tuple[int, ...], fmt: TensorFormat = F32) -> Tensor:
    """A scale beside ``weight``."""
    return stored(weight, suffix, shape, fmt, Part.SCALE)


def matrix(weight: Tensor) -> tuple[int, int]:
    """(N, K): output and input features."""
    return weight.shape[-2], weight.shape[-1]


def groups_of(in_features: int, group: int) -> int:
    """Groups along K; ``group`` -1 is one group for the whole row."""
    return 1 if group <= 0 else ceil_div(in_features, group)


def fp8(weight: Tensor, scales: tuple[Tensor, ...], fmt: TensorFormat = FP8_E4M3) -> tuple[Tensor, ...]:
    """One byte a weight, and the given scales."""
    return (replace(weight, format=fmt), *scales)


def fp8_tensor(weight: Tensor, *, static: bool) -> tuple[Tensor, ...]:
    """One scale for the weight, and one for its input where that was measured beforehand."""
    inputs = (scale(weight, "input_scale", ()),) if static else ()
    return fp8(weight, (scale(weight, "weight_scale", ()), *inputs))


def fp8_channel(weight: Tensor) -> tuple[Tensor, ...]:
    """One scale for every output row."""
    return fp8(weight, (scale(weight, "weight_scale", (weight.shape[-2], 1)),))


def fp8_block(weight: Tensor, block: tuple[int, int], *, suffix: str = "weight_scale_inv", fmt: TensorFormat = F32) -> tuple[Tensor, ...]:
    """One scale for every block of rows and columns, the last ones incomplete."""
    rows, columns = matrix(weight)
    return fp8(weight, (scale(weight, suffix, (ceil_div(rows, block[0]), ceil_div(columns, block[1])), fmt),))


def int8(weight: Tensor, *, per_row: bool = True) -> tuple[Tensor, ...]:
    """One signed byte a weight and one scale for every output row, or for all."""
    return (replace(weight, format=I8), scale(weight, "weight_scale", (weight.shape[-2], 1) if per_row else (1,)))


def nvfp4(weight: Tensor, group: int, names: tuple[str, str, tuple[str, ...]]) -> tuple[Tensor, ...]:
    """Two weights a byte, an FP8 scale for every ``group`` inputs, and single FP32 scales.

    ``names`` are those of the weight, of the group scale, and of the single scales.
    """
    rows, columns = matrix(weight)
    packed, grouped, single = names
    return (
        stored(weight, packed, (rows, ceil_div(columns, 2)), U8),
        scale(weight, grouped, (rows, groups_of(columns, group)), FP8_E4M3),
        *(scale(weight, name, ()) for name in single),
    )


def mxfp4(weight: Tensor, names: tuple[str, str], *, group: int = 32, fmt: TensorFormat = U8) -> tuple[Tensor, ...]:
    """Two weights a byte and one exponent byte for every 32 inputs; ``names`` are those of the weight and of the scale."""
    rows, columns = matrix(weight)
    return (
        stored(weight, names[0], (rows, ceil_div(columns, 2)), U8),
        scale(weight, names[1], (rows, groups_of(columns, group)), fmt),
    )


def fp8_block_or_fp4(weight: Tensor, block: tuple[int, int], expert_dtype: str) -> tuple[Tensor, ...]:
    """A block-scaled FP8 checkpoint whose experts may be in four bits; all its scales are exponents then."""
    if expert_dtype != "fp4":
        return fp8_block(weight, block)
    return mxfp4(weight, ("weight", "scale"), fmt=E8M0) if is_expert(weight) else fp8_block(weight, block, suffix="scale", fmt=E8M0)


def int32_rows(count: int, bits: int) -> int:
    """32-bit words that hold ``count`` weights of ``bits`` bits, packed without a gap. Raises UnsupportedModelError."""
    if not 1 <= bits <= INT32_BITS:
        raise UnsupportedModelError(f"bits is {bits}; a packed weight has 1 to {INT32_BITS}")
    return ceil_div(count * bits, INT32_BITS)


def awq(weight: Tensor, bits: int, group: int) -> tuple[Tensor, ...]:
    """Packed along N: qweight (K, N*bits/32), qzeros (K/g, N*bits/32), scales (K/g, N)."""
    rows, columns = matrix(weight)
    groups = groups_of(columns, group)
    return (
        stored(weight, "qweight", (columns, int32_rows(rows, bits)), I32),
        stored(weight, "qzeros", (groups, int32_rows(rows, bits)), I32, Part.ZERO),
        scale(weight, "scales", (groups, rows), F16),
    )


def gptq(weight: Tensor, bits: int, group: int) -> tuple[Tensor, ...]:
    """Packed along K: qweight (K*bits/32, N), qzeros (K/g, N*bits/32), scales (K/g, N), g_idx (K)."""
    rows, columns = matrix(weight)
    groups = groups_of(columns, group)
    return (
        stored(weight, "qweight", (int32_rows(columns, bits), rows), I32),
        stored(weight, "qzeros", (groups, int32_rows(rows, bits)), I32, Part.ZERO),
        scale(weight, "scales", (groups, rows), F16),
        stored(weight, "g_idx", (columns,), I32, Part.INDEX),
    )
