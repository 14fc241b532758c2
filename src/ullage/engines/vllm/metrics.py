"""Read vLLM's metrics page (Prometheus text) into facts, under one name for what releases have called differently."""

import re
from typing import Final

from ullage.domain.facts import Fact

Value = int | float | str

_LINE = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+([-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|Inf|NaN))(?:\s+-?\d+)?\s*")
_LABEL = re.compile(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"')
_LONGEST = 8192

# Our name for each series; where a release has two for one thing, the first in this order is taken.
_NAMES: Final = {
    "vllm:kv_cache_usage_perc": "kv_cache_usage",
    "vllm:gpu_cache_usage_perc": "kv_cache_usage",
    "vllm:cpu_cache_usage_perc": "cpu_cache_usage",
    "vllm:num_requests_running": "requests_running",
    "vllm:num_requests_waiting": "requests_waiting",
    "vllm:num_requests_swapped": "requests_swapped",
    "vllm:num_preemptions": "preemptions",
    "vllm:prefix_cache_queries": "prefix_cache_queries",
    "vllm:gpu_prefix_cache_queries": "prefix_cache_queries",
    "vllm:prefix_cache_hits": "prefix_cache_hits",
    "vllm:gpu_prefix_cache_hits": "prefix_cache_hits",
    "vllm:gpu_prefix_cache_hit_rate": "prefix_cache_hit_rate",
    "vllm:external_prefix_cache_queries": "external_prefix_cache_queries",
    "vllm:external_prefix_cache_hits": "external_prefix_cache_hits",
    "vllm:admission_rejections": "admission_rejections",
    "vllm:prompt_tokens": "prompt_tokens",
    "vllm:generation_tokens": "generation_tokens",
    "process_resident_memory_bytes": "process_resident_bytes",
}
_BY_LABEL: Final = {
    "vllm:num_requests_waiting_by_reason": ("requests_waiting", "reason"),
    "vllm:engine_sleep_state": ("sleep", "sleep_state"),
}
_CACHE_CONFIG = "vllm:cache_config_info"
_CACHE_LABELS: Final = {
    "num_gpu_blocks": "kv_blocks",
    "num_cpu_blocks": "cpu_blocks",
    "block_size": "block_tokens",
    "effective_attention_block_size": "attention_block_tokens",
    "cache_dtype": "kv_cache_dtype",
    "gpu_memory_utilization": "utilization",
    "kv_cache_size_tokens": "kv_tokens",
    "kv_cache_max_concurrency": "max_concurrency",
    "kv_cache_memory_bytes": "kv_bytes",
}


def read_metrics(text: str) -> tuple[Fact, ...]:
    """Every known series as a fact, per engine; unknown ones and broken lines are passed over."""
    found: dict[tuple[str, str], tuple[int, Fact]] = {}
    for line in text.splitlines():
        match = None if line.startswith("#") or len(line) > _LONGEST else _LINE.fullmatch(line)
        if match is None:
            continue
        labels = dict(_LABEL.findall(match[2] or ""))
        for rank, fact in _facts(match[1], labels, match[3]):
            key = (fact.name, labels.get("engine", ""))
            if key not in found or rank < found[key][0]:
                found[key] = (rank, fact)
    return tuple(fact for _, fact in found.values())


def _facts(name: str, labels: dict[str, str], number: str) -> list[tuple[int, Fact]]:
    """The facts of one line, each with its rank among the names of the same thing."""
    engine = (("engine", labels["engine"]),) if "engine" in labels else ()
    if name == _CACHE_CONFIG:
        said = ((ours, _value(labels[theirs])) for theirs, ours in _CACHE_LABELS.items() if theirs in labels)
        return [(0, _fact(ours, value, engine)) for ours, value in said if value is not None]
    value = _value(number)
    if value is None:
        return []
    if name in _BY_LABEL:
        ours, label = _BY_LABEL[name]
        return [(0, _fact(f"{ours}_{labels[label]}", value, engine))] if labels.get(label) else []
    known = name if name in _NAMES else name.removesuffix("_total")
    return [(list(_NAMES).index(known), _fact(_NAMES[known], value, engine))] if known in _NAMES else []


def _fact(name: str, value: Value, details: tuple[tuple[str, Value], ...]) -> Fact:
    unit = "bytes" if name.endswith("_bytes") else "tokens" if name.endswith("_tokens") else ""
    return Fact(name=name, value=value, unit=unit, details=details)


def _value(text: str) -> Value | None:
    """A whole number where it is one; texts stay texts; what is not a number and what was not set is None."""
    if text in {"", "None", "null", "NaN", "Inf", "+Inf", "-Inf"}:
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    if number != number or number in {float("inf"), float("-inf")}:  # noqa: PLR0124 - the test for NaN
        return None
    return int(number) if number.is_integer() else number
