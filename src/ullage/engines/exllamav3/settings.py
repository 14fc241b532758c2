"""The settings that matter to memory, as TabbyAPI's ``config.yml`` names them; their types, and what the unsaid ones become."""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from ullage.catalog.exllama_options import (
    AUTO,
    NONE,
    count_value,
    flag_value,
    layers_value,
    numbers_value,
    read_numbers,
    setting_called,
    split_value,
    write_numbers,
)
from ullage.domain.architecture import ChunkedAttention, Recurrent, SlidingAttention
from ullage.domain.case import Case, Settings, Value
from ullage.domain.engine import Knob
from ullage.domain.placement import Parallel
from ullage.engines.exllamav3.versions import RECURRENT_SLOTS, RESERVE_REST, SLOTS, TABBY_RESERVE_MIB, WINDOW_SLOTS_SINCE
from ullage.errors import InputError
from ullage.formulas.exllama import HALF, PAGE_TOKENS, CacheBits, pair, rounded_to_pages
from ullage.frozen import replace
from ullage.units import MiB

FALLBACK_CONTEXT = 8192  # what TabbyAPI takes where the configuration sets no length
CHUNK_TOKENS = 2048
_PAIR = re.compile(r"([2-8])(?:[,_/]q?([2-8]))?")
_FEWEST_BITS, _MOST_BITS = 2, 8


class Kind(NamedTuple):
    """One setting: how its value is read, what it means, its default in words."""

    read: Callable[[str, Value], Value]
    meaning: str
    default: str


def _cache_mode(name: str, value: Value) -> Value:
    """``FP16`` or bits of keys and of values, ``4,8``; ``Q4`` is ``4,4``."""
    word = str(value).strip().lower()
    if word in {"fp16", "f16", "16"}:
        return "FP16"
    found = _PAIR.fullmatch(word.removeprefix("q"))
    if found is None:
        raise InputError(f"{name} is {str(value)[:40]!r}; FP16, Q4, Q6, Q8 or bits of keys and values from 2 to 8 are wanted, as 4,8")
    return f"{found[1]},{found[2] or found[1]}"


SETTINGS: Final[dict[str, Kind]] = {
    "max_seq_len": Kind(count_value, "longest sequence, prompt and answer", "what the model's configuration allows, at most cache_size"),
    "cache_size": Kind(
        count_value, "tokens of the whole cache, in pages of 256", "max_seq_len, so the model's whole length (the sample file says 4096)"
    ),
    "cache_mode": Kind(_cache_mode, "FP16, or bits of keys and of values: 8,8 or 4,8", "FP16"),
    "gpu_split": Kind(split_value, "GB each card may use, cache included; auto: fill as loaded", "auto"),
    "autosplit_reserve": Kind(numbers_value, "MB for each card that gpu_split=auto leaves free", "96 on the first, 512 on each other"),
    "tensor_parallel": Kind(flag_value, "every layer on every card", "false"),
    "chunk_size": Kind(count_value, "tokens of a prompt that run together, in steps of 256", "2048"),
    "max_batch_size": Kind(count_value, "jobs at once; some layers keep a state for each", "128, with such layers 4 (the sample file: 32)"),
    "cpu_moe_offload_layers": Kind(layers_value, "mixture-of-experts layers whose experts stay on the host", "0"),
    "vision": Kind(flag_value, "load the model's vision tower", "false"),
}
ALIASES: Final = {"cache_type": "cache_mode", "cache_quant": "cache_mode", "cache_tokens": "cache_size", "max_chunk_size": "chunk_size"}
KNOBS = tuple(Knob(name=name, meaning=kind.meaning, default=kind.default) for name, kind in SETTINGS.items())


def validate(name: str, value: Value) -> Value:
    """One ``--set``, typed. Raises InputError, naming what is right."""
    known = setting_called(name, SETTINGS, ALIASES, "ExLlamaV3")
    return SETTINGS[known].read(known, value)


def cache_bits(case: Case) -> CacheBits:
    """The formats of keys and values."""
    mode = case.settings.text("cache_mode") or "FP16"
    if mode == "FP16":
        return HALF
    key, value = (int(part) for part in mode.split(","))
    return pair(key, value)


def keeps_slots(case: Case) -> bool:
    """Whether any layer keeps a state for each job instead of pages."""
    kinds = (Recurrent, SlidingAttention, ChunkedAttention) if windows_are_slots(case) else (Recurrent,)
    return any(isinstance(mixer, kinds) for layer in case.model.architecture.layers for mixer in layer.mixers)


def windows_are_slots(case: Case) -> bool:
    """Whether this release keeps only the window of sliding layers."""
    return case.version.parts >= WINDOW_SLOTS_SINCE


def split_numbers(case: Case) -> tuple[float, ...] | None:
    """The numbers of ``gpu_split``, None where it is a word."""
    said = case.settings.text("gpu_split")
    return None if said in {None, AUTO, NONE} else read_numbers("gpu_split", said)


def reserve_bytes(case: Case) -> tuple[int, ...]:
    """What filling leaves free on each card: as said, on the others half a GiB."""
    said = [int(number * MiB) for number in read_numbers("autosplit_reserve", case.settings.get("autosplit_reserve"))]
    return (*said, *(RESERVE_REST.value for _ in case.machine.devices))[: max(1, len(case.machine.devices))]


def resolve(case: Case) -> Case:
    """The case with every default said, as TabbyAPI would set it; a concurrency that was asked for makes the cache larger."""
    said = Settings.of({ALIASES.get(name, name): value for name, value in case.settings.items if value is not None})
    length = said.integer("max_seq_len") or case.workload.context_tokens or case.model.architecture.max_context_tokens or FALLBACK_CONTEXT
    asked = max(length, (case.workload.context_tokens or length) * case.workload.concurrent_sequences)
    size = rounded_to_pages(said.integer("cache_size") or asked)
    parallel = _parallel(case, said)
    slots = RECURRENT_SLOTS.value if keeps_slots(case) else SLOTS.value
    values: dict[str, Value] = {
        "cache_mode": "FP16",
        "gpu_split": AUTO if parallel.devices > 1 and parallel.tensor == 1 else NONE,
        "autosplit_reserve": write_numbers((TABBY_RESERVE_MIB.value,)),
        "tensor_parallel": parallel.tensor > 1,
        "cpu_moe_offload_layers": 0,
        "vision": False,
        "max_batch_size": max(slots, case.workload.concurrent_sequences),
        **dict(said.items),
        "chunk_size": rounded_to_pages(max(PAGE_TOKENS, said.integer("chunk_size") or CHUNK_TOKENS)),
        "cache_size": size,
        "max_seq_len": min(length, size),
    }
    return replace(case, settings=Settings.of(values), parallel=parallel)


def _parallel(case: Case, said: Settings) -> Parallel:
    """Tensor parallelism and ``auto`` take every card unless a number was said; a split takes one for each number."""
    split, there = said.text("gpu_split"), max(1, len(case.machine.devices))
    stated = "parallel" in case.stated or case.parallel.devices > 1
    if said.flag("tensor_parallel"):
        return Parallel(tensor=case.parallel.devices if stated else there)
    if stated or split in {None, NONE}:
        return case.parallel
    return Parallel(pipeline=there if split == AUTO else min(there, len(read_numbers("gpu_split", split))))
