"""Read the metrics page of the forks, which is that of vLLM's V0 engine."""

import re
from typing import Final

from ullage.domain.facts import Fact

_SERIES = re.compile(r"vllm:(\w{1,60}?)(?:_total)?(?:\{[^}\n]{0,2000}\})? (\d{1,18}(?:\.\d{1,12})?(?:[eE][-+]?\d{1,2})?)")
_MEANING: Final = {
    "gpu_cache_usage_perc": "kv_cache_usage",
    "cpu_cache_usage_perc": "cpu_cache_usage",
    "num_requests_running": "requests_running",
    "num_requests_waiting": "requests_waiting",
    "num_requests_swapped": "requests_swapped",
    "num_preemptions": "preemptions",
    "prompt_tokens": "prompt_tokens",
    "generation_tokens": "generation_tokens",
}


def read_metrics(page: str) -> tuple[Fact, ...]:
    """Every known series as a fact; whatever else stands there is passed over."""
    found: dict[str, Fact] = {}
    for line in page.splitlines():
        match = _SERIES.fullmatch(line.strip())
        if match is None or match[1] not in _MEANING:
            continue
        name, number = _MEANING[match[1]], float(match[2])
        unit = "tokens" if name.endswith("_tokens") else ""
        found[name] = Fact(name=name, value=int(number) if number.is_integer() else number, unit=unit)
    return tuple(found.values())
