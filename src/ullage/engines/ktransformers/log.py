"""Read one line of what KTransformers prints about memory: the classic server, and the fork of SGLang."""

import re
from typing import Final, NamedTuple

from ullage.catalog.torch_messages import FOUND, LONGEST, out_of_memory
from ullage.domain.facts import Fact
from ullage.units import GiB


class Line(NamedTuple):
    """A line's meaning, its text, the unit of its first number, and the names of the others."""

    name: str
    text: re.Pattern[str]
    unit: str = ""
    others: tuple[str, ...] = ()


_N, _G = r"(-?\d{1,12})", r"(-?\d{1,9}(?:\.\d{1,6})?)"
_MISMATCH = re.compile(rf"size of tensor a \({_N}\) must match the size of tensor b \({_N}\) at non-singleton dimension (\d)")
_LINES: Final = (
    Line("error.prompt_over_cache", re.compile(rf"input_ids_length {_N} > cache_lens {_N}"), "tokens", ("cache_tokens",)),
    Line("error.cache_too_small", re.compile(r"seq_length bigger than cache_lens, killed")),
    Line("error.chunk_size", re.compile(r"chunk_size must <= 1024 or a multiple of 1024")),
    Line("error.full_layer_slot", re.compile(r"full-layer GPU slot CUDA out of memory")),
    Line("error.no_kv_memory", re.compile(r"Not enough memory\. Please try to increase --mem-fraction-static")),
    Line("error.no_kv_memory", re.compile(rf"leave no GPU memory for the KV cache under --mem-fraction-static={_G}"), "fraction"),
    Line("error.graph_oom", re.compile(r"Capture cuda graph failed")),
    Line("error.prefill_oom", re.compile(r"Prefill out of memory\. Try to lower your batch size")),
    Line("error.decode_oom", re.compile(r"Decode out of memory")),
    Line("error.pool_full", re.compile(rf"KV cache pool is full\. Retract requests\. #retracted_reqs: {_N}"), "requests"),
    Line("error.kv_over_profiled", re.compile(rf"max_total_tokens={_N} is larger than the profiled value {_N}"), "tokens", ("kv_tokens",)),
    Line("kv_tokens", re.compile(rf"StaticCache \(length={_N}\)"), "tokens"),
    Line("graph_batch", re.compile(rf"capturing cuda graph {_N} {_N}"), "sequences", ("tokens",)),
    Line(
        "prefill_tokens_per_second",
        re.compile(rf"Performance\(T/s\): prefill {_G}, decode {_G}"),
        "tokens per second",
        ("decode_tokens_per_second",),
    ),
    Line("free_before_load_bytes", re.compile(rf"Load weight begin\. avail mem={_G} GB"), "GiB"),
    Line("weights_bytes", re.compile(rf"Load weight end\..{{0,300}}?mem usage={_G} GB"), "GiB"),
    Line(
        "slot_bytes",
        re.compile(rf"prepared full-layer slots on .{{0,60}}?raw={_G} GiB, prepared={_G} GiB, total={_G} GiB"),
        "GiB",
        ("prepared", "total"),
    ),
    Line(
        "state_bytes", re.compile(rf"Mamba Cache is allocated\..{{0,80}}?conv_state size: {_G}GB, ssm_state size: {_G}GB"), "GiB", ("ssm",)
    ),
    Line("graph_bytes", re.compile(rf"Capture (?:\w+ )?cuda graph end\..{{0,120}}?mem usage={_G} GB"), "GiB"),
    Line("free_after_pool_bytes", re.compile(rf"Memory pool end\. avail mem={_G} GB"), "GiB"),
    Line("kv_tokens", re.compile(rf"max_total_num_tokens={_N}"), "tokens"),
    Line("kv_tokens", re.compile(rf"#tokens: {_N}, KV size: {_G} GB"), "tokens", ("kv_gib",)),
)
_POOL = re.compile(rf"KV Cache is allocated\..{{0,60}}?#tokens: {_N}, K size: {_G} GB, V size: {_G} GB")

READS: Final = (*FOUND, _MISMATCH, _POOL, *(known.text for known in _LINES))


def read_log_line(line: str) -> Fact | None:
    """The fact a line states, or None. Sizes are bytes; the fork prints GiB and calls them GB."""
    text = line[:LONGEST]
    found = out_of_memory(text) or _mismatch(text) or _pool(text)
    if found is not None:
        return found
    for known in _LINES:
        match = known.text.search(text)
        if match is not None:
            return _fact(known, match)
    return None


def _mismatch(text: str) -> Fact | None:
    """The static cache against a longer sequence; the same sentence about other dimensions is a bug and no size."""
    match = _MISMATCH.search(text)
    if match is None:
        return None
    if match[3] not in {"2", "3"}:
        return Fact(name="error.shapes", value=match[0])
    cache, asked = sorted((int(match[1]), int(match[2])))
    return Fact(name="error.cache_too_small", value=asked, unit="tokens", details=(("cache_tokens", cache),))


def _pool(text: str) -> Fact | None:
    match = _POOL.search(text)
    if match is None:
        return None
    nbytes = int((float(match[2]) + float(match[3])) * GiB)
    return Fact(name="kv_bytes", value=nbytes, unit="bytes", details=(("kv_tokens", int(match[1])),))


def _fact(known: Line, match: re.Match[str]) -> Fact:
    numbers = [float(group) if "." in group else int(group) for group in match.groups()]
    if not numbers:
        return Fact(name=known.name, value=match[0])
    if known.unit != "GiB":
        return Fact(name=known.name, value=numbers[0], unit=known.unit, details=tuple(zip(known.others, numbers[1:], strict=True)))
    sizes = [int(number * GiB) for number in numbers]
    whole = sum(sizes) if known.name == "state_bytes" else sizes[-1]
    return Fact(name=known.name, value=whole, unit="bytes")


_GAUGES: Final = {
    "sglang:token_usage": ("kv_usage", "fraction"),
    "sglang:num_running_reqs": ("running", "requests"),
    "sglang:num_queue_reqs": ("waiting", "requests"),
    "sglang:max_total_num_tokens": ("kv_tokens", "tokens"),
}
_GAUGE = re.compile(r"^(sglang:\w{1,60})(?:\{[^}\n]{0,500}\})? (-?\d{1,15}(?:\.\d{1,17})?(?:e[+-]?\d{1,3})?)$", re.MULTILINE)


def read_metrics(text: str) -> tuple[Fact, ...]:
    """The gauges of the fork's Prometheus page; the classic server has none."""
    pairs = [(_GAUGES[name], float(value)) for name, value in _GAUGE.findall(text[: 1 << 22]) if name in _GAUGES]
    return tuple(Fact(name=name, value=value, unit=unit) for (name, unit), value in pairs)
