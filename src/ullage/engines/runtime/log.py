"""Read one line of the runtime's log, and its page of metrics."""

import re
from collections.abc import Iterator
from typing import Final

from ullage.catalog.torch_messages import FOUND, LONGEST, out_of_memory
from ullage.domain.facts import Fact
from ullage.frozen import replace

_PATTERNS: Final = (
    ("weights_bytes", "bytes", re.compile(r"ullage\.runtime: weights: (\d{1,18}) bytes")),
    ("kv_bytes", "bytes", re.compile(r"ullage\.runtime: cache: up to (\d{1,18}) bytes (?:\([^)]{1,20}\))?, (?P<tokens>\d{1,12}) tokens")),
    ("chunk_tokens", "tokens", re.compile(r"ullage\.runtime: chunk: (\d{1,9}) tokens; at most (?P<sequences>\d{1,9}) sequences")),
    ("error.request_too_long", "", re.compile(r"needs ([\d,]{1,24}) (?P<unit>tokens|bytes of cache) and (?P<have>[\d,]{1,24}) are there")),
    ("error.no_room_for_cache", "", re.compile(r"are left for the cache and one page takes (.{1,24}?)[:;]")),
    (
        "error.process_memory",
        "",
        re.compile(
            r"(out of memory while the libraries|cannot allocate memory for thread-local data"
            r"|terminate called after throwing .{0,40}bad_alloc|libgomp: Thread creation failed)"
        ),
    ),
    ("error.host_oom", "", re.compile(r"(out of memory (?:while|in a step)|\bMemoryError\b|\bErrno 12\b)")),
    ("loading", "", re.compile(r"ullage\.runtime: loading: (\S.{0,200})")),
    ("requests_running", "", re.compile(r"ullage\.runtime: running: (\d{1,9}) sequences at once")),
    ("error.family", "", re.compile(r"the runtime does not run the family '([^']{1,80})'")),
    ("error.engine", "", re.compile(r"ullage\.runtime: error: the engine failed: (\w{1,80})")),
    ("listening", "", re.compile(r"ullage\.runtime: listening on (\S{1,200})")),
    # Why it does not begin; before that began with a word for it, it was what is left of what does.
    ("error.arguments", "", re.compile(r"ullage\.runtime: (?:error: |(?!\w{2,12}: |stopped ))(\S.{1,300})")),
)

READS: Final = (*FOUND, *(pattern for _, _, pattern in _PATTERNS))


def read_log_line(line: str) -> Fact | None:
    """The fact a line states, or None."""
    text = line[:LONGEST]
    failed = out_of_memory(text)
    if failed is not None:
        return replace(failed, details=(*failed.details, *_doing(text)))
    for name, unit, pattern in _PATTERNS:
        match = pattern.search(text)
        if match is not None:
            details = tuple((key, _typed(value)) for key, value in match.groupdict().items() if value is not None)
            details += _doing(text) if name == "error.host_oom" else ()
            return Fact(name=name, value=_typed(match[1]), unit=unit, details=details)
    return None


_DOING: Final = re.compile(r"out of memory (while loading|while reserving)|; (under load|a long prompt|generation)\b")


def _doing(text: str) -> tuple[tuple[str, str], ...]:
    """What memory was refused for, in the words that tell the stage."""
    match = _DOING.search(text)
    return (("doing", "kv cache allocation" if match[1] == "while reserving" else match[1] or match[2]),) if match is not None else ()


def _typed(text: str) -> int | str:
    plain = text.replace(",", "")
    return int(plain) if plain.isascii() and plain.isdigit() else text


_SAMPLE: Final = re.compile(r"ullage_runtime_(\w{1,60})(?:\{(\w{1,20})=\"(\w{1,40})\"\})? (\d{1,18})")
_NAMES: Final = {
    "cache_budget_bytes": "kv_bytes",
    "cache_used_bytes": "kv_used_bytes",
    "cache_idle_bytes": "kv_idle_bytes",
    "cache_budget_tokens": "kv_tokens",
    "cache_used_tokens": "kv_used_tokens",
    "requests_waiting": "requests_waiting",
    "requests_running": "requests_running",
    "swap_used_bytes": "swap_used_bytes",
    "prompt_tokens_total": "prompt_tokens",
    "generated_tokens_total": "generation_tokens",
    "reused_tokens_total": "reused_tokens",
}
_LABELLED: Final = {"seen_bytes": "seen", "promised_bytes": "promised", "preemptions_total": "preemptions"}
_LONGEST_SAMPLE: Final = 1024


def read_metrics(text: str) -> tuple[Fact, ...]:
    """Every known series as a fact; others and broken lines are passed over."""
    found = []
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line) if len(line) <= _LONGEST_SAMPLE else None
        if match is None:
            continue
        name, label, key, number = match.groups()
        if label is None and name in _NAMES:
            found.append(Fact(name=_NAMES[name], value=int(number), unit=_unit(_NAMES[name])))
        elif label is not None and name in _LABELLED:
            found.append(Fact(name=f"{_LABELLED[name]}.{key}", value=int(number), unit=_unit(name)))
    return (*found, *_derived({fact.name: fact.value for fact in found if isinstance(fact.value, int)}))


def _derived(said: dict[str, int]) -> Iterator[Fact]:
    """What other engines tell themselves: shares of the cache that sequences hold and that takes memory, and preemptions of either way."""
    if said.get("kv_bytes") and "kv_used_bytes" in said:
        yield Fact(name="kv_cache_usage", value=said["kv_used_bytes"] / said["kv_bytes"])
        yield Fact(name="kv_cache_held", value=(said["kv_used_bytes"] + said.get("kv_idle_bytes", 0)) / said["kv_bytes"])
    ways = [value for name, value in said.items() if name.startswith("preemptions.")]
    if ways:
        yield Fact(name="preemptions", value=sum(ways))


def _unit(name: str) -> str:
    return next((unit for unit in ("bytes", "tokens") if name.endswith(unit)), "")
