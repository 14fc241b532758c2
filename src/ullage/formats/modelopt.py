"""NVIDIA ModelOpt: FP8, NVFP4 and mixtures of both, from ``quantization_config`` or ``hf_quant_config``."""

from collections.abc import Callable

from ullage.catalog.tensor_formats import FP8_E4M3, U8
from ullage.domain.checkpoint import Role, Tensor
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Recipe
from ullage.errors import MalformedFileError, UnsupportedModelError
from ullage.formats._layouts import fp8_block, fp8_block_or_fp4, fp8_channel, fp8_tensor, groups_of, matrix, mxfp4, nvfp4, scale
from ullage.formats._modules import convert, linears, module_of
from ullage.formats._patterns import Patterns, named, patterns
from ullage.frozen import replace

Layout = Callable[[Tensor], tuple[Tensor, ...]]
_NVFP4_GROUP = 16
_MX_GROUP = 32
_BLOCK = (128, 128)
_NAMES = ("weight", "weight_scale", ("weight_scale_2", "input_scale"))
_NAMES_WEIGHT_ONLY = ("weight", "weight_scale", ("weight_scale_2",))
_EXCEPTIONS = ("exclude_modules", "ignore", "modules_to_not_convert")
_MIXED = "MIXED_PRECISION"
_WITHOUT_BYTES = ("kv_cache_quant_algo", "kv_cache_scheme", "config_groups", "exclude_modules_note", "ignore_note", "quantized_layers_note")
_EXCLUDED: list[Json] = ["lm_head"]
_WORDS: dict[str, dict[str, Json]] = {
    "nvfp4": {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": _NVFP4_GROUP, "exclude_modules": _EXCLUDED},
    "modelopt-fp8": {"quant_method": "modelopt", "quant_algo": "FP8", "exclude_modules": _EXCLUDED},
}


def reads(config: Hyperparameters) -> bool:
    """Whether the scheme names one of ModelOpt's algorithms."""
    return config.has("quant_algo") or isinstance(config.raw("quantization"), dict)


def apply(tensors: tuple[Tensor, ...], config: Hyperparameters) -> tuple[tuple[Tensor, ...], str]:
    """Every linear layer that is not excluded, or those that a mixture lists, each with its algorithm."""
    config.ignore("producer", "quant_method", *_WITHOUT_BYTES)
    body = config.child("quantization") if isinstance(config.raw("quantization"), dict) else config
    body.ignore(*_WITHOUT_BYTES)
    algorithm = body.text("quant_algo")
    if algorithm == _MIXED:
        return _mixture(tensors, body)
    layout = _layout(algorithm, body.integer_or("group_size", 0))
    chosen = linears(tensors, skip=named(body, *_EXCEPTIONS))
    return convert(tensors, chosen, layout), f"modelopt {algorithm.lower()}"


def _layout(algorithm: str, group: int) -> Layout:
    size = group or _NVFP4_GROUP
    known: dict[str, Layout] = {
        "FP8": lambda weight: fp8_tensor(weight, static=True),
        "FP8_PER_CHANNEL_PER_TOKEN": fp8_channel,
        "FP8_PB_WO": lambda weight: fp8_block(weight, _BLOCK, suffix="weight_scale"),
        "NVFP4": lambda weight: nvfp4(weight, size, _NAMES),
        "W4A16_NVFP4": lambda weight: nvfp4(weight, size, _NAMES_WEIGHT_ONLY),
        "MXFP4": lambda weight: mxfp4(weight, ("weight", "weight_scale")),
        "MXFP8": _mxfp8,
    }
    if algorithm not in known:
        raise UnsupportedModelError(f"quant_algo is {algorithm[:40]!r}, which has no known layout; known are {', '.join(known)}")
    return known[algorithm]


def _mxfp8(weight: Tensor) -> tuple[Tensor, ...]:
    rows, columns = matrix(weight)
    return replace(weight, format=FP8_E4M3), scale(weight, "weight_scale", (rows, groups_of(columns, _MX_GROUP)), U8)


def _mixture(tensors: tuple[Tensor, ...], body: Hyperparameters) -> tuple[tuple[Tensor, ...], str]:
    """Modules with an algorithm of their own; what no list names keeps the block-scaled FP8 the model had, or its dtype.

    ``ignore`` only keeps modules out of these lists, so it has no say where the rest is FP8.
    """
    rules = _rules(body)
    names = " + ".join(dict.fromkeys(algorithm.lower() for _, algorithm, _ in rules))
    rest: Layout | None = None
    if body.raw("quant_method") == "fp8" and body.has("weight_block_size"):
        rows, columns = body.integers("weight_block_size", length=2, low=1)
        experts = body.text_or("expert_dtype", "fp8")
        rest = lambda weight: fp8_block_or_fp4(weight, (rows, columns), experts)  # noqa: E731 - one of several layouts
        body.ignore("fmt", "scale_fmt", "activation_scheme", "group_size", "moe_quant_algo")
        names += f" + fp8 block {rows}x{columns}"
    kept = patterns(()) if rest else named(body, *_EXCEPTIONS)
    body.ignore(*_EXCEPTIONS)
    any_linear = linears(tensors, skip=kept, head=True)

    def chosen(tensor: Tensor) -> bool:
        return any_linear(tensor) and (rest is not None or _rule_of(tensor, rules) is not None)

    def layout(weight: Tensor) -> tuple[Tensor, ...]:
        own = _rule_of(weight, rules) or (rest if weight.role is not Role.HEAD else None)
        return own(weight) if own is not None else (weight,)

    return convert(tensors, chosen, layout), f"modelopt {names}"


def _rule_of(tensor: Tensor, rules: list[tuple[Patterns, str, Layout]]) -> Layout | None:
    module = module_of(tensor)
    return next((layout for listed, _, layout in rules if listed.match(module)), None)


def _rules(body: Hyperparameters) -> list[tuple[Patterns, str, Layout]]:
    """Lists of modules and what is done with them: a list of groups, or an object with one entry for each module."""
    modules: dict[tuple[str, int], list[str]] = {}
    stated = body.raw("quantized_layers")
    if isinstance(stated, list):
        for group in body.children("quantized_layers"):
            group.ignore("count")
            modules.setdefault(_spec(group.child("spec")), []).extend(group.words("modules"))
    elif isinstance(stated, dict):
        each = body.child("quantized_layers")
        for name in stated:
            modules.setdefault(_spec(each.child(name)), []).append(name)
    else:
        raise MalformedFileError(f"quant_algo is {_MIXED}, but quantized_layers does not list the modules")
    return [(patterns(names), algorithm, _layout(algorithm, group)) for (algorithm, group), names in modules.items()]


def _spec(spec: Hyperparameters) -> tuple[str, int]:
    spec.ignore("has_zero_point", "pre_quant_scale")
    return spec.text("quant_algo"), spec.integer_or("group_size", 0)


RECIPE = Recipe(name="modelopt", reads=reads, apply=apply, words=tuple(_WORDS), named=_WORDS.get)
