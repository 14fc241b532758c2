"""The settings that matter to memory, in ExLlamaV2's own names; their types, and what the unsaid ones become."""

from collections.abc import Callable
from typing import Final, NamedTuple

from ullage.catalog.exllama_options import (
    AUTO,
    NONE,
    count_value,
    flag_value,
    numbers_value,
    read_numbers,
    setting_called,
    split_value,
    write_numbers,
)
from ullage.domain.case import Case, Settings, Value
from ullage.domain.engine import Knob
from ullage.domain.placement import Parallel
from ullage.engines.exllamav2.versions import TABBY_RESERVE_MIB, Rules, rules_for
from ullage.errors import InputError
from ullage.formulas.exllama import EIGHT_BIT_FLOAT, HALF, CacheBits, pair, rounded_to_pages
from ullage.frozen import replace

FALLBACK_CONTEXT = 2048
INPUT_TOKENS, LOW_MEMORY_TOKENS = 2048, 1024
CACHES: Final[dict[str, CacheBits]] = {"FP16": HALF, "FP8": EIGHT_BIT_FLOAT, "Q4": pair(4, 4), "Q6": pair(8, 4), "Q8": pair(8, 8)}
_CACHE_WORDS: Final = {"F16": "FP16", "16": "FP16", "8BIT": "FP8", "Q4_0": "Q4", "Q8_0": "Q8"}


class Setting(NamedTuple):
    """One setting: how its value is read, what it means, its default in words."""

    read: Callable[[str, Value], Value]
    meaning: str
    default: str


def _cache_mode(name: str, value: Value) -> Value:
    word = str(value).strip().upper()
    word = _CACHE_WORDS.get(word, word)
    if word not in CACHES:
        raise InputError(f"{name} is {str(value)[:40]!r}; one of {', '.join(CACHES)} is wanted")
    return word


SETTINGS: Final[dict[str, Setting]] = {
    "max_seq_len": Setting(count_value, "longest sequence, prompt and answer", "what the model's configuration allows"),
    "cache_size": Setting(count_value, "tokens of the whole cache, in pages of 256 (0.1.0 on)", "max_seq_len"),
    "cache_mode": Setting(_cache_mode, "format of keys and values: FP16, FP8, Q4, Q6, Q8", "FP16"),
    "gpu_split": Setting(
        split_value,
        "GB of weights and scratch for each card, without the cache; auto: fill as loaded; none: all on the first",
        "several cards: balanced over weights, cache and scratch",
    ),
    "autosplit_reserve": Setting(numbers_value, "MB for each card that gpu_split=auto leaves free", "96 on the first"),
    "tensor_parallel": Setting(flag_value, "every layer on every card (0.2.0 on)", "false"),
    "chunk_size": Setting(count_value, "tokens of a prompt that run together (max_input_len)", "2048, with low_mem 1024"),
    "max_batch_size": Setting(count_value, "sequences of one batch; before 0.1.0 each has a cache of its own", "1"),
    "no_flash_attn": Setting(flag_value, "do without flash-attn", "false where flash-attn is installed"),
    "low_mem": Setting(flag_value, "the library's word for chunk_size 1024", "false"),
}
ALIASES: Final = {
    "length": "max_seq_len",
    "context": "max_seq_len",
    "max_input_len": "chunk_size",
    "cache_type": "cache_mode",
    "gpu_split_auto": "gpu_split",
}
KNOBS = tuple(Knob(name=name, meaning=setting.meaning, default=setting.default) for name, setting in SETTINGS.items())


def validate(name: str, value: Value) -> Value:
    """One ``--set``, typed. Raises InputError with the nearest right name, or saying what values there are."""
    known = setting_called(name, SETTINGS, ALIASES, "ExLlamaV2")
    return SETTINGS[known].read(known, value)


def rules(case: Case) -> Rules:
    """The rules of this case's release."""
    return rules_for(case.version.parts)


def cache_bits(case: Case) -> CacheBits:
    """The formats of keys and values."""
    return CACHES[case.settings.text("cache_mode") or "FP16"]


def cache_tokens(case: Case) -> int:
    """Tokens the cache is made for."""
    if rules(case).dynamic:
        return case.settings.integer("cache_size") or 0
    return (case.settings.integer("max_seq_len") or 0) * (case.settings.integer("max_batch_size") or 1)


def split_numbers(case: Case) -> tuple[float, ...] | None:
    """The numbers of ``gpu_split``, None where it is a word."""
    said = case.settings.text("gpu_split")
    return None if said in {None, AUTO, NONE} else read_numbers("gpu_split", said)


def reserve_mib(case: Case) -> tuple[float, ...]:
    """What autosplit leaves free on each device; those not said keep nothing free."""
    said = read_numbers("autosplit_reserve", case.settings.get("autosplit_reserve"))
    return (*said, *(0.0 for _ in case.machine.devices))[: max(1, len(case.machine.devices))]


def with_defaults(case: Case) -> Case:
    """The case with every default said but ``gpu_split``, which needs the sizes of the model."""
    said = Settings.of({ALIASES.get(name, name): value for name, value in case.settings.items if value is not None})
    parallel = _parallel(case, said)
    length = said.integer("max_seq_len") or case.workload.context_tokens
    length = length or case.model.architecture.max_context_tokens or FALLBACK_CONTEXT
    chunk = said.integer("chunk_size") or (LOW_MEMORY_TOKENS if said.flag("low_mem") else INPUT_TOKENS)
    rows = case.workload.concurrent_sequences
    values: dict[str, Value] = {
        "cache_mode": "FP16",
        "autosplit_reserve": write_numbers((TABBY_RESERVE_MIB.value,)),
        "tensor_parallel": parallel.tensor > 1,
        "max_batch_size": 1 if rules(case).dynamic else rows,
        **dict(said.without("low_mem").items),
        "max_seq_len": length,
        "chunk_size": min(chunk, length) if said.text("gpu_split") == AUTO else chunk,
    }
    if rules(case).dynamic:
        asked = max(length, (case.workload.context_tokens or length) * rows)
        values["cache_size"] = rounded_to_pages(said.integer("cache_size") or asked)
    return replace(case, settings=Settings.of(values), parallel=parallel)


def _parallel(case: Case, said: Settings) -> Parallel:
    """A split that was said spreads over as many devices as it has numbers, ``auto`` over all, ``none`` over one."""
    word, there = said.text("gpu_split"), max(1, len(case.machine.devices))
    if said.flag("tensor_parallel") and case.parallel.tensor == 1:
        return Parallel(tensor=case.parallel.devices if case.parallel.devices > 1 else there)
    if word is None or "parallel" in case.stated or case.parallel.devices > 1:
        return case.parallel
    if word == NONE:
        return case.parallel
    return Parallel(pipeline=there if word == AUTO else min(there, len(read_numbers("gpu_split", word))))
