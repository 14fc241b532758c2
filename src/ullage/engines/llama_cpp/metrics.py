"""Read llama-server's metrics page (Prometheus text). It has no gauge of memory: how much work there is, and how fast it goes."""

import re

from ullage.domain.facts import Fact

_LINE = re.compile(r"llamacpp:(\w+)(?:\{[^}]*\})?\s+([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d{1,3})?)\s*")
_NAMES = {
    "requests_processing": "requests_running",
    "requests_deferred": "requests_waiting",
    "kv_cache_usage_ratio": "kv_cache_usage",
    "kv_cache_tokens": "kv_used_tokens",
    "n_tokens_max": "longest_sequence_tokens",
    "prompt_tokens_total": "prompt_tokens",
    "tokens_predicted_total": "generation_tokens",
    "prompt_tokens_seconds": "prompt_tokens_per_second",
    "predicted_tokens_seconds": "generation_tokens_per_second",
    "n_decode_total": "decode_steps",
    "n_busy_slots_per_decode": "busy_slots",
}
_LONGEST = 1024


def read_metrics(text: str) -> tuple[Fact, ...]:
    """Every known series as a fact; unknown ones and broken lines are passed over."""
    found = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line) if len(line) <= _LONGEST else None
        if match is None or match[1] not in _NAMES:
            continue
        name, number = _NAMES[match[1]], float(match[2])
        if number in {float("inf"), float("-inf")}:
            continue
        unit = "tokens" if name.endswith("_tokens") else ""
        found.append(Fact(name=name, value=int(number) if number.is_integer() else number, unit=unit))
    return tuple(found)
