"""GPTQ: two to eight bits packed along the inputs, with zeros, scales and the group of every input."""

import re

from ullage.domain.checkpoint import Tensor
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Recipe
from ullage.errors import MalformedFileError, UnsupportedModelError
from ullage.formats._layouts import gptq
from ullage.formats._modules import convert, linears, module_of
from ullage.formats._patterns import Patterns, named, patterns

_BITS = (2, 3, 4, 8)
_WORD = re.compile(r"gptq(?:-int([2348]))?(?:-g(32|64|128|1024))?")
# How the weights were found and how they are read, not how many bytes they take.
_WITHOUT_BYTES = (
    "act_group_aware",
    "batch_size",
    "block_name_to_quantize",
    "cache_block_outputs",
    "damp_auto_increment",
    "damp_percent",
    "dataset",
    "desc_act",
    "exllama_config",
    "max_input_length",
    "meta",
    "model_file_base_name",
    "model_name_or_path",
    "module_name_preceding_first_block",
    "mse",
    "pack_dtype",
    "quantizer",
    "static_groups",
    "sym",
    "tokenizer",
    "true_sequential",
    "use_cuda_fp16",
    "use_exllama",
)


def reads(config: Hyperparameters) -> bool:
    """Whether the scheme is GPTQ, written by any of its tools; the first ones wrote a file of its own without a name."""
    unnamed = not config.has("quant_method") and config.has("bits") and config.has("desc_act")
    return unnamed or config.raw("quant_method") in {"gptq", "gptq_marlin", "gptqmodel"}


def apply(tensors: tuple[Tensor, ...], config: Hyperparameters) -> tuple[tuple[Tensor, ...], str]:
    """Every linear layer but those that ``dynamic`` switches off; the head where ``lm_head`` says so."""
    bits, group = _bits(config), config.integer_or("group_size", -1, low=-1)
    config.must_be("checkpoint_format", "gptq", "gptq_v2")
    config.must_be("format", "gptq", "gptq_v2")
    config.must_be("is_marlin_format", False)
    config.ignore(*_WITHOUT_BYTES)
    skip, overrides = _dynamic(config)
    listed = named(config, "modules_to_not_convert")
    chosen = linears(tensors, skip=skip, head=config.flag("lm_head", default=False))
    inside = _only(config)

    def layout(weight: Tensor) -> tuple[Tensor, ...]:
        module = module_of(weight)
        if listed.match(module) or (inside is not None and not inside.match(module)):
            return (weight,)
        own = next((values for pattern, values in overrides if pattern.match(module)), (bits, group))
        return gptq(weight, *own)

    return convert(tensors, chosen, layout), f"gptq {bits}-bit" + (f" g{group}" if group > 0 else "")


def _bits(config: Hyperparameters) -> int:
    bits = config.integer("bits")
    if bits not in _BITS:
        raise UnsupportedModelError(f"the quantisation's bits is {bits}; GPTQ weights of {', '.join(map(str, _BITS))} bits are known")
    return bits


def _only(config: Hyperparameters) -> Patterns | None:
    """The modules that alone are quantised, where the configuration lists them (as groups of names)."""
    lists = config.raw("modules_in_block_to_quantize")
    if lists is None:
        return None
    flat = [name for names in lists if isinstance(names, list) for name in names] if isinstance(lists, list) else [None]
    if not all(isinstance(name, str) for name in flat):
        raise MalformedFileError("modules_in_block_to_quantize should be a list of lists of names")
    return patterns(str(name) for name in flat)


def _dynamic(config: Hyperparameters) -> tuple[Patterns, list[tuple[Patterns, tuple[int, int]]]]:
    """``dynamic`` maps ``-:expression`` to modules left alone and ``+:expression`` to modules with their own bits and group."""
    rules = config.raw("dynamic")
    if rules is not None and not isinstance(rules, dict):
        raise MalformedFileError("dynamic should be an object")
    skipped, overrides = [], []
    for key in rules or {}:
        expression = key.removeprefix("+:").removeprefix("-:")
        if key.startswith("-:"):
            skipped.append(f"re:{expression}")
            continue
        own = config.child("dynamic").child(key)
        values = (
            _bits(own) if own.has("bits") else _bits(config),
            own.integer_or("group_size", config.integer_or("group_size", -1, low=-1), low=-1),
        )
        own.ignore(*_WITHOUT_BYTES)
        overrides.append((patterns((f"re:{expression}",)), values))
    return patterns(skipped), overrides


def meaning(word: str) -> dict[str, Json] | None:
    """``gptq``, ``gptq-int4``, ``gptq-int8-g32``: four bits in groups of 128 where nothing else is said."""
    found = _WORD.fullmatch(word)
    if found is None:
        return None
    return {"quant_method": "gptq", "bits": int(found[1] or 4), "group_size": int(found[2] or 128), "desc_act": False, "sym": True}


RECIPE = Recipe(
    name="gptq", reads=reads, apply=apply, words=("gptq", "gptq-int3", "gptq-int4", "gptq-int4-g32", "gptq-int8"), named=meaning
)
