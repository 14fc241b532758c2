"""compressed-tensors: groups of modules, each with its own number of bits, scales and way of packing."""

from collections.abc import Callable

from ullage.catalog.tensor_formats import I32, I64
from ullage.domain.checkpoint import Part, Tensor
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Recipe
from ullage.errors import UnsupportedModelError
from ullage.formats._layouts import (
    fp8_block,
    fp8_channel,
    fp8_tensor,
    groups_of,
    int8,
    int32_rows,
    matrix,
    mxfp4,
    nvfp4,
    scale,
    stored,
)
from ullage.formats._modules import convert, linears, module_of
from ullage.formats._patterns import Patterns, named, patterns
from ullage.formulas.sharding import ceil_div

Layout = Callable[[Tensor], tuple[Tensor, ...]]
_PACKED = ("weight_packed", "weight_scale")
_NVFP4_NAMES = ("weight_packed", "weight_scale", ("weight_global_scale",))
_CLASSES = frozenset({"Linear", "LinearBase", "ParallelLMHead"})


def _scheme(kind: str, bits: int, strategy: str, group: int | None, fmt: str, *, inputs: bool = False) -> dict[str, Json]:
    weights: dict[str, Json] = {"num_bits": bits, "type": kind, "strategy": strategy, "group_size": group, "symmetric": True}
    activations: Json = {"num_bits": bits, "type": kind, "dynamic": True} if inputs else None
    groups: dict[str, Json] = {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": activations}}
    return {"quant_method": "compressed-tensors", "format": fmt, "ignore": ["lm_head"], "config_groups": groups}


_WORDS = {
    "w4a16": _scheme("int", 4, "group", 128, "pack-quantized"),
    "w8a16": _scheme("int", 8, "channel", None, "pack-quantized"),
    "w8a8": _scheme("int", 8, "channel", None, "int-quantized", inputs=True),
    "fp8-dynamic": _scheme("float", 8, "channel", None, "float-quantized", inputs=True),
}


def reads(config: Hyperparameters) -> bool:
    """Whether the scheme is compressed-tensors, under its present or its first name."""
    return config.raw("quant_method") in {"compressed-tensors", "sparseml"} and not config.has("quant_algo")


def apply(tensors: tuple[Tensor, ...], config: Hyperparameters) -> tuple[tuple[Tensor, ...], str]:
    """Each linear layer as the first group says that aims at it; the head too unless it is ignored; routers never."""
    config.ignore("quantization_status", "global_compression_ratio", "kv_cache_scheme", "version", "transform_config", "ignore_note")
    sparsity = config.child_or_none("sparsity_config")
    if sparsity is not None and sparsity.text_or("format", "dense") != "dense":
        raise UnsupportedModelError(f"sparsity_config.format is {sparsity.text('format')!r}; only dense weights are known")
    names = config.child("config_groups")
    groups = [_group(names.child(name), config.text_or("format", "dense")) for name in _keys(config.raw("config_groups"))]
    any_head = any("Linear" in words or patterns(words).match("lm_head") for words, _, _ in groups)
    chosen = linears(tensors, skip=named(config, "ignore"), head=any_head)
    aimed = [(_aims(words), layout) for words, layout, _ in groups]

    def layout_of(weight: Tensor) -> tuple[Tensor, ...]:
        layout = next((layout for aims, layout in aimed if aims(weight)), None)
        return (weight,) if layout is None else layout(weight)

    return convert(tensors, chosen, layout_of), "compressed-tensors " + " + ".join(dict.fromkeys(title for _, _, title in groups))


def _keys(value: Json) -> tuple[str, ...]:
    return tuple(value) if isinstance(value, dict) else ()


def _aims(words: tuple[str, ...]) -> Callable[[Tensor], bool]:
    listed: Patterns = patterns(word for word in words if word not in _CLASSES)
    linear = bool(_CLASSES.intersection(words))
    return lambda tensor: linear or listed.match(module_of(tensor))


def _group(group: Hyperparameters, default_format: str) -> tuple[tuple[str, ...], Layout, str]:
    """The modules a group aims at, its layout, and its name for people."""
    words = group.words("targets") if group.has("targets") else ("Linear",)
    fmt = group.text_or("format", default_format)
    group.ignore("output_activations", "targets_note")
    weights = group.child("weights")
    inputs = group.child_or_none("input_activations")
    static = inputs is not None and not inputs.flag("dynamic", default=False)
    bits, kind = weights.integer("num_bits"), weights.text_or("type", "int")
    size = weights.integer_or("group_size", -1, low=-1)
    strategy = weights.text_or("strategy", "group" if size > 0 else "tensor")
    weights.ignore("observer", "observer_kwargs", "dynamic", "block_structure", "zp_dtype", "scale_dtype", "symmetric", "actorder")
    title = f"{kind}{bits}" + (f" g{size}" if size > 0 else f" {strategy}")
    match kind, bits:
        case "float", 4:
            return words, _four_bit_floats(fmt, size), title
        case "float", 8:
            return words, _bytes_of_float(weights, strategy, static=static), f"fp8 {strategy}"
        case "int", 8 if fmt in {"int-quantized", "naive-quantized"}:
            return words, lambda weight: int8(weight, per_row=strategy != "tensor"), title
        case "int", _ if fmt in {"pack-quantized", "int-quantized", "naive-quantized"}:
            return words, _packed_integers(weights, bits, size), title
        case _:
            raise UnsupportedModelError(f"the group of type {kind!r} with num_bits {bits} and format {fmt!r} has no known layout")


def _four_bit_floats(fmt: str, size: int) -> Layout:
    if fmt == "mxfp4-pack-quantized":
        return lambda weight: mxfp4(weight, _PACKED)
    if fmt == "nvfp4-pack-quantized":
        return lambda weight: nvfp4(weight, size if size > 0 else 16, _NVFP4_NAMES)
    raise UnsupportedModelError(f"format is {fmt!r}; four-bit floats are known as nvfp4-pack-quantized and mxfp4-pack-quantized")


def _bytes_of_float(weights: Hyperparameters, strategy: str, *, static: bool) -> Layout:
    match strategy:
        case "tensor":
            return lambda weight: fp8_tensor(weight, static=static)
        case "channel":
            return fp8_channel
        case "block":
            rows, columns = weights.integers("block_structure", length=2, low=1)
            return lambda weight: fp8_block(weight, (rows, columns), suffix="weight_scale")
        case _:
            raise UnsupportedModelError(f"strategy is {strategy!r}; FP8 weights are known by tensor, channel and block")


def _packed_integers(weights: Hyperparameters, bits: int, size: int) -> Layout:
    """Packed along K: (N, K*bits/32) words, a scale for each group, zeros where the range is not symmetric."""
    symmetric = weights.flag("symmetric", default=True)
    ordered = weights.raw("actorder") in {"group", True}

    def layout(weight: Tensor) -> tuple[Tensor, ...]:
        rows, columns = matrix(weight)
        groups = groups_of(columns, size)
        zeros = stored(weight, "weight_zero_point", (ceil_div(rows * bits, 32), groups), I32, Part.ZERO)
        order = stored(weight, "weight_g_idx", (columns,), I32, Part.INDEX)
        return (
            stored(weight, "weight_packed", (rows, int32_rows(columns, bits)), I32),
            scale(weight, "weight_scale", (rows, groups), weight.format),
            *(() if symmetric else (zeros,)),
            *((order,) if ordered else ()),
            stored(weight, "weight_shape", (2,), I64, Part.INDEX),
        )

    return layout


RECIPE = Recipe(name="compressed-tensors", reads=reads, apply=apply, words=tuple(_WORDS), named=_WORDS.get)
