"""Which files make one model: the names that shards and splits of a set have."""

import re

from ullage.errors import InputError, WorldError

SMALL_DOCUMENTS = (
    "config.json",
    "model.safetensors.index.json",
    "quantize_config.json",
    "quant_config.json",
    "hf_quant_config.json",
    "quantization_config.json",
)
WEIGHT_SUFFIXES = (".safetensors", ".gguf")
_PART_OF_SET = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf|\.safetensors)")
_MOST_PARTS = 10_000


def siblings(name: str, present: tuple[str, ...]) -> tuple[str, ...]:
    """Every file of the set that ``name`` is a part of, in order. Raises WorldError naming the first missing part."""
    part = _PART_OF_SET.fullmatch(name)
    if part is None:
        return (name,)
    count = int(part["count"])
    if not 1 <= count <= _MOST_PARTS:
        raise InputError(f"{name} says it is one of {count} parts; 1 to {_MOST_PARTS} are read")
    names = tuple(f"{part['stem']}-{number:05d}-of-{part['count']}{part['suffix']}" for number in range(1, count + 1))
    missing = [other for other in names if other not in present]
    if missing:
        raise WorldError(f"{missing[0]} is missing ({len(missing)} of {count} parts are): fetch it, or give the config.json alone")
    return names


def one_model(names: tuple[str, ...], where: str, present: tuple[str, ...]) -> tuple[str, ...]:
    """The weight files of a directory that are one model. Raises InputError when they are several.

    Safetensors files go together; an unsplit ``consolidated`` copy beside them is the same weights again. GGUF files are a model each.
    """
    sets = {siblings(name, present) for name in names}
    tensors = [one for one in sets if one[0].endswith(".safetensors")]
    if tensors:
        shards = [one for one in tensors if not one[0].startswith("consolidated")] or tensors
        return tuple(sorted(name for one in shards for name in one))
    if len(sets) > 1:
        found = ", ".join(sorted(one[0] for one in sets))
        raise InputError(f"{where} holds {len(sets)} models: {found}. Give one of these files")
    return sets.pop() if sets else ()
