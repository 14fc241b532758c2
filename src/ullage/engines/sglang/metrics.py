"""Read SGLang's metrics page (``--enable-metrics``, Prometheus text) into facts."""

import math
import re
from typing import Final

from ullage.domain.facts import Fact
from ullage.units import GiB

_SERIES = re.compile(r"(sglang[:_][\w:]{1,80})(?:\{([^}]*)\})? +([-+\w.]{1,40})(?: +\d+)?")
_RANK = re.compile(r'(?:tp_rank|dp_rank)="(\w{1,9})"')
_NAMES: Final = {
    "token_usage": "kv_cache_usage",
    "full_token_usage": "full_cache_usage",
    "swa_token_usage": "window_cache_usage",
    "mamba_usage": "state_usage",
    "max_total_num_tokens": "max_total_tokens",
    "num_used_tokens": "tokens_in_use",
    "num_running_reqs": "requests_running",
    "num_queue_reqs": "requests_waiting",
    "num_retracted_reqs": "requests_retracted",
    "cache_hit_rate": "prefix_cache_hit_rate",
    "prompt_tokens_total": "prompt_tokens",
    "generation_tokens_total": "generation_tokens",
}
_GIB: Final = {
    "weight_memory_usage_gb": "weights_bytes",
    "weight_memory_gb": "weights_bytes",
    "kv_cache_memory_gb": "kv_bytes",
    "kv_cache_memory_usage_gb": "kv_bytes",
    "graph_memory_gb": "graph_bytes",
    "graph_memory_usage_gb": "graph_bytes",
}
_LONGEST = 8192


def read_metrics(page: str) -> tuple[Fact, ...]:
    """Every known series as a fact, per rank; unknown ones and broken lines are passed over."""
    facts: dict[tuple[str, tuple[str, ...]], Fact] = {}
    for line in page.splitlines():
        found = _SERIES.fullmatch(line.strip()) if len(line) <= _LONGEST else None
        if found is None:
            continue
        plain = found[1].replace("sglang:", "").replace("sglang_", "")
        name, number = _NAMES.get(plain) or _GIB.get(plain), _number(found[3])
        if name is None or number is None:
            continue
        ranks = tuple(_RANK.findall(found[2] or ""))
        value = round(number * GiB) if plain in _GIB else int(number) if number.is_integer() else number
        unit = "bytes" if plain in _GIB else "tokens" if name.endswith("_tokens") else ""
        facts[name, ranks] = Fact(name=name, value=value, unit=unit, details=tuple(("rank", rank) for rank in ranks[:1]))
    return tuple(facts.values())


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
