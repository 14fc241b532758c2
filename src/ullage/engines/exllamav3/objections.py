"""What ExLlamaV3 and TabbyAPI refuse when they load, in their own words."""

from collections.abc import Iterator

from ullage.domain.architecture import CrossAttention
from ullage.domain.case import Case
from ullage.domain.plan import Limit, Objection
from ullage.engines.exllamav3.place import balanced_split, caps, is_filled, load_of, placing
from ullage.engines.exllamav3.settings import split_numbers
from ullage.engines.exllamav3.units import units
from ullage.units import format_bytes

_READS = ("exl3", "bfloat16", "float16", "float32")
_AMPERE = (8, 0)


def objections(case: Case) -> tuple[Objection, ...]:
    """Everything that stops it, the first first."""
    return (*_model(case), *_cards(case), *_room(case))


def _model(case: Case) -> Iterator[Objection]:
    scheme = case.model.checkpoint.scheme
    if not scheme.startswith(_READS):
        yield Objection(
            text="ValueError: No tensors found for model.layers.0 matching the current model definition.",
            why=f"ExLlamaV3 reads EXL3 and 16-bit weights, not {scheme}",
            next_step="take an EXL3 version of the model, as --quant exl3-4.0bpw",
        )
    if any(isinstance(mixer, CrossAttention) for layer in case.model.architecture.layers for mixer in layer.mixers):
        yield Objection(
            text=f"AssertionError: Unknown architecture {case.model.class_name or case.model.architecture.class_name}",
            why="no release computes attention to an encoder",
            next_step="another engine, for example vllm",
        )


def _cards(case: Case) -> Iterator[Objection]:
    old = [device.name for device in case.devices if device.compute_capability is not None and device.compute_capability < _AMPERE]
    if old:
        yield Objection(
            text="Unable to run ExllamaV3 because an unsupported GPU is found in this configuration.",
            why=f"{old[0]} is older than Ampere (compute capability 8.0)",
            next_step="exllamav2 or llama.cpp on these cards",
        )


def _room(case: Case) -> Iterator[Objection]:
    if case.settings.flag("tensor_parallel") or not is_filled(case) or not placing(case).missing:
        return
    modules, allowed = units(case), caps(case)
    weights = sum(unit.weights for unit in modules)
    cache = sum(unit.cache_bytes + unit.state_bytes for unit in modules)
    fixed = sum(load_of(case)(at, 0, 0) for at in range(len(case.devices)))
    by = "gpu_split allows" if split_numbers(case) is not None else "the reserve leaves"
    change = f"gpu_split={balanced_split(case)}, " if split_numbers(case) is not None else ""
    yield Objection(
        text="RuntimeError: Insufficient VRAM in split for model and cache",
        why=(
            f"weights of {format_bytes(weights)}, cache and states of {format_bytes(cache)}, context of {format_bytes(fixed)} and one "
            f"forward pass on each card do not fit the {format_bytes(sum(max(0, cap) for cap in allowed))} that {by}"
        ),
        next_step=f"{change}a smaller cache_size, a quantised cache_mode, cpu_moe_offload_layers for experts, or fewer bits a weight",
        limit=Limit.CACHE if cache > weights // 2 else Limit.WEIGHTS,
    )
