"""What ExLlamaV2 refuses when it loads, in its own words."""

from collections.abc import Iterator

from ullage.catalog.exllama_options import AUTO
from ullage.domain.architecture import FullAttention, SlidingAttention
from ullage.domain.case import Case
from ullage.domain.plan import Limit, Objection
from ullage.engines.exllamav2.place import balanced_split, full_load, placing, split_load
from ullage.engines.exllamav2.settings import rules, split_numbers
from ullage.engines.exllamav2.units import constant_bytes, units
from ullage.units import GiB, format_bytes

_READS = ("exl2", "gptq", "bfloat16", "float16", "float32")
_TENSOR_SINCE, _GROWN_SINCE = "0.2.0", {"Q4": "0.0.15", "Q6": "0.1.5", "Q8": "0.1.5"}


def objections(case: Case) -> tuple[Objection, ...]:
    """Everything that stops it, the first first."""
    return (*_model(case), *_settings(case), *_split(case))


def _model(case: Case) -> Iterator[Objection]:
    model = case.model
    scheme = model.checkpoint.scheme
    if not scheme.startswith(_READS):
        yield Objection(
            text=" ## Could not find the weights of model.layers.0 in the model's files.",
            why=f"ExLlamaV2 reads EXL2, GPTQ and 16-bit weights, not {scheme}",
            next_step="take an EXL2 version of the model, as --quant exl2-4.0bpw",
        )
    mixers = [mixer for layer in model.architecture.layers for mixer in layer.mixers]
    strange = next((mixer for mixer in mixers if not isinstance(mixer, FullAttention | SlidingAttention)), None)
    if strange is not None or not mixers:
        kind = type(strange).__name__ if strange is not None else "no attention"
        yield Objection(
            text=f" !! Warning, unknown architecture: {model.class_name or model.architecture.class_name}",
            why=f"the model has {kind}, which no release of ExLlamaV2 computes",
            next_step="another engine, for example exllamav3 or llama.cpp",
        )


def _settings(case: Case) -> Iterator[Objection]:
    mode = case.settings.text("cache_mode") or "FP16"
    if mode not in rules(case).cache_modes:
        yield Objection(
            text=f"ImportError: cannot import name 'ExLlamaV2Cache_{mode}' from 'exllamav2'",
            why=f"the {mode} cache came with {_GROWN_SINCE.get(mode, 'another release')}",
            next_step=f"cache_mode={rules(case).cache_modes[-1]}, or a newer release",
        )
    if case.settings.flag("tensor_parallel") and not rules(case).tensor_parallel:
        yield Objection(
            text="AttributeError: 'ExLlamaV2' object has no attribute 'load_tp'",
            why=f"tensor parallelism came with {_TENSOR_SINCE}",
            next_step="a gpu_split, or a newer release",
        )
    numbers, there = split_numbers(case), len(case.machine.devices)
    if numbers is not None and len(numbers) > there:
        yield Objection(
            text=f" ## Error: Too many entries in gpu_split. {there} CUDA devices are available.",
            why=f"gpu_split has {len(numbers)} numbers for {there} cards",
            next_step=f"{there} numbers",
        )


def _split(case: Case) -> Iterator[Objection]:
    if case.settings.flag("tensor_parallel"):
        return
    placed = placing(case)
    if not placed.missing:
        return
    if case.settings.text("gpu_split") == AUTO:
        yield _does_not_fill(case)
    else:
        yield _split_too_small(case)


def _split_too_small(case: Case) -> Objection:
    modules, numbers = units(case), split_numbers(case) or ()
    need = sum(unit.footprint for unit in modules)
    room = split_load(modules, flash=True)(0, 0, len(modules)) - need + constant_bytes(case)
    have = int(sum(numbers) * GiB)
    return Objection(
        text="AssertionError: Insufficient space in device allocation",
        why=(
            f"the split {case.settings.text('gpu_split')} adds up to {format_bytes(have)}; the weights are {format_bytes(need)}, and each "
            f"card's number also counts about {format_bytes(room)} of scratch"
        ),
        next_step=f"gpu_split={balanced_split(case)}, or fewer bits a weight",
        limit=Limit.WEIGHTS,
    )


def _does_not_fill(case: Case) -> Objection:
    modules = units(case)
    kept, weights = sum(unit.cache_bytes for unit in modules), sum(unit.resident for unit in modules)
    need = sum(full_load(case, modules, largest_scratch=True)(at, 0, 1) - modules[0].resident for at in range(len(case.devices)))
    have = sum(device.total_bytes for device in case.devices)
    return Objection(
        text="RuntimeError: Insufficient VRAM for model and cache",
        why=(
            f"weights of {format_bytes(weights)}, a cache of {format_bytes(kept)} and about {format_bytes(need)} of scratch and context do "
            f"not fit {format_bytes(have)} when the cards are filled in order"
        ),
        next_step="a shorter max_seq_len, a quantised cache_mode, or fewer bits a weight",
        limit=Limit.CACHE if kept > weights // 2 else Limit.WEIGHTS,
    )
