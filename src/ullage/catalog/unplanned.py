"""Servers for which nothing is planned, but whose deaths are understood: their words, and what helps, in their own settings."""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from ullage.catalog.torch_messages import FOUND, LONGEST, out_of_memory
from ullage.domain.cause import FirstAid, Hint, Kind
from ullage.domain.facts import Fact
from ullage.units import GiB, MiB


class Program(NamedTuple):
    """One server: what people call it, its first aid, and what reads a line of its log."""

    title: str
    aid: FirstAid
    read: Callable[[str], Fact | None]


_Lines = tuple[tuple[str, re.Pattern[str]], ...]
_UNITS: Final = {"GiB": GiB, "MiB": MiB, "bytes": 1}
_SHARE: Final = "kv_cache_free_gpu_memory_fraction"
_STEP: Final = frozenset({Kind.ACTIVATIONS, Kind.WORKSPACE, Kind.CACHE_ALLOCATION, Kind.SAMPLER})
_WEIGHTS: Final = frozenset({Kind.WEIGHTS, Kind.NO_ROOM_FOR_CACHE})
_CACHE: Final = frozenset({Kind.CACHE_TOO_SMALL, Kind.NO_ROOM_FOR_CACHE})


def _one(kind: Kind) -> frozenset[Kind]:
    return frozenset({kind})


def _lines(*rows: tuple[str, str]) -> _Lines:
    return tuple((name, re.compile(text)) for name, text in rows)


def _read_in(lines: _Lines) -> tuple[re.Pattern[str], ...]:
    return (*FOUND, *(pattern for _, pattern in lines))


def _reader(lines: _Lines) -> Callable[[str], Fact | None]:
    """What reads a line: PyTorch's own words first, then the first of the lines that fits. A group is a size with its unit, or tokens."""

    def read(line: str) -> Fact | None:
        text = line[:LONGEST]
        failed = out_of_memory(text)
        if failed is not None:
            return failed
        return next((_fact(name, match, text) for name, pattern in lines if (match := pattern.search(text)) is not None), None)

    return read


def _fact(name: str, match: re.Match[str], text: str) -> Fact:
    groups = match.groupdict()
    if groups.get("tokens"):
        return Fact(name=name, value=int(groups["tokens"]), unit="tokens", details=((name, int(groups["tokens"])),))
    if groups.get("size"):
        size = int(float(groups["size"]) * _UNITS[groups["unit"]])
        return Fact(name=name, value=size, unit="bytes", details=((name, size),))
    return Fact(name=name, value=text.strip()[:200])


_TGI_LINES: Final = _lines(
    ("error.compute_allocation", r"[Nn]ot enough memory to (?:handle|run).{0,40}prefill"),
    ("error.kv_too_small", r"[Nn]ot enough memory to handle.{0,40}(?:total|decode|input)"),
    ("error.request_too_long", r"`inputs` (?:tokens \+ `max_new_tokens` )?must (?:be <=|have less than)"),
)
_TGI: Final = FirstAid(
    reads=_read_in(_TGI_LINES),
    signs=(
        r"text[-_]generation[-_](?:launcher|server|router|inference|client)|\btgi\b",
        r"--?max[-_]batch[-_]prefill[-_]tokens|max[-_]batch[-_]total[-_]tokens|--cuda-memory-fraction|--num-shard\b|ShardCannotStart",
    ),
    hints=(
        Hint(kinds=_WEIGHTS, setting="num_shard", cost="more devices", up=True),
        Hint(kinds=_WEIGHTS, setting="quantize", cost="fewer bits a weight: some quality", value="eetq"),
        Hint(kinds=_WEIGHTS, setting="dtype", cost="16 bits for what was 32", value="float16"),
        Hint(kinds=_one(Kind.GRAPHS), setting="cuda_graphs", cost="slower decoding", value="0"),
        Hint(kinds=_STEP, setting="max_batch_prefill_tokens", cost="slower prompts", names=("max-batch-prefill-tokens",)),
        Hint(kinds=_STEP | {Kind.CACHE_PRESSURE}, setting="max_batch_total_tokens", cost="fewer sequences at once"),
        Hint(kinds=_STEP | {Kind.GRAPHS, Kind.DEVICE_NOT_FREE}, setting="cuda_memory_fraction", cost="a smaller cache"),
        Hint(kinds=_CACHE | _STEP, setting="max_total_tokens", cost="shorter sequences", names=("max_input_length", "max_input_tokens")),
        Hint(kinds=_one(Kind.CACHE_TOO_SMALL), setting="num_shard", cost="more devices", up=True),
        Hint(kinds=_STEP, setting="num_shard", cost="more devices", up=True),
        Hint(kinds=_one(Kind.REQUEST_TOO_LONG), setting="max_total_tokens", cost="more cache a sequence", up=True),
    ),
    stands_before=("transformers", "vllm", "exllamav2"),  # whose kernels and loaders it uses
)


_LMDEPLOY_LINES: Final = _lines(
    ("error.no_kv_memory", r"[Nn]o enough (?:gpu )?memory for kv cache"),
    ("error.no_state", r"[Nn]o enough (?:gpu )?memory for state cache"),
    ("error.compute_allocation", r"[Nn]o enough (?:gpu )?memory for \w"),
    ("fitted_step_tokens", r"[Nn]o enough memory\. Update max_prefill_token_num=(?P<tokens>\d{1,9})"),
)
_LMDEPLOY: Final = FirstAid(
    reads=_read_in(_LMDEPLOY_LINES),
    signs=(r"\blmdeploy\b|\[TM\]\[(?:INFO|WARNING|ERROR|FATAL)\]|\b[Tt]urbo[Mm]ind|cache[-_]max[-_]entry[-_]count",),
    hints=(
        Hint(kinds=_one(Kind.WEIGHTS), setting="tp", cost="more devices", up=True),
        Hint(kinds=_one(Kind.WEIGHTS), setting="model_format", cost="fewer bits a weight: some quality", value="awq"),
        Hint(kinds=_STEP | {Kind.GRAPHS, Kind.WEIGHTS, Kind.DEVICE_NOT_FREE}, setting="cache_max_entry_count", cost="a smaller cache"),
        Hint(kinds=_STEP, setting="max_prefill_token_num", cost="slower prompts"),
        Hint(kinds=_STEP | {Kind.CACHE_PRESSURE}, setting="max_batch_size", cost="fewer sequences at once"),
        Hint(kinds=_CACHE | {Kind.REDUCED}, setting="cache_max_entry_count", cost="less room for a step", up=True),
        Hint(kinds=_one(Kind.NO_ROOM_FOR_CACHE), setting="max_prefill_token_num", cost="slower prompts"),
        Hint(kinds=_one(Kind.NO_ROOM_FOR_CACHE), setting="max_batch_size", cost="fewer sequences at once"),
        Hint(kinds=_CACHE | _STEP, setting="session_len", cost="shorter sequences"),
        Hint(kinds=_CACHE | {Kind.REDUCED}, setting="quant_policy", cost="8-bit keys and values: some quality", value=8),
        Hint(kinds=_one(Kind.REQUEST_TOO_LONG), setting="session_len", cost="more cache a sequence", up=True),
    ),
    stands_before=("transformers", "vllm"),  # whose loaders and names it uses
)


_SIZE: Final = r"(?P<size>\d{1,15}(?:\.\d{1,6})?) ?(?P<unit>GiB|MiB|bytes)"
_TENSORRT_LINES: Final = _lines(
    ("kv_bytes", rf"\[MemUsageChange\] Allocated {_SIZE} for max tokens in paged KV cache"),
    ("kv_bytes", rf"Allocate {_SIZE} for k/v cache"),
    ("kv_tokens", r"Using (?P<tokens>\d{1,12}) tokens in paged KV cache"),
    ("weights_bytes", rf"Loaded engine size: {_SIZE}"),
    ("error.request_too_long", r"[Pp]rompt length \(\d{1,9}\) exceeds maximum input length"),
)
_TENSORRT: Final = FirstAid(
    reads=_read_in(_TENSORRT_LINES),
    fills_budget=True,
    signs=(r"\[(?:TensorRT-LLM|TRT-LLM)\]|\b[Tt]ensor[Rr][Tt][-_][Ll][Ll][Mm]\b|\btrtllm[-_]\w+|kv_cache_free_gpu_mem(?:ory)?_fraction",),
    hints=(
        Hint(kinds=_one(Kind.WEIGHTS), setting="tp_size", cost="more devices", up=True),
        Hint(kinds=_one(Kind.WEIGHTS), setting="quantization", cost="fewer bits a weight: some quality", value="fp8"),
        Hint(kinds=_STEP | {Kind.GRAPHS, Kind.DEVICE_NOT_FREE}, setting=_SHARE, cost="a smaller cache"),
        Hint(kinds=_STEP, setting="max_num_tokens", cost="slower prompts"),
        Hint(kinds=_STEP | {Kind.CACHE_PRESSURE}, setting="max_batch_size", cost="fewer sequences at once"),
        Hint(kinds=_CACHE | {Kind.CACHE_PRESSURE}, setting=_SHARE, cost="less room for a step", up=True),
        Hint(kinds=_CACHE | _STEP, setting="max_seq_len", cost="shorter sequences"),
        Hint(kinds=_CACHE | {Kind.WEIGHTS}, setting="tp_size", cost="more devices", up=True),
        Hint(kinds=_one(Kind.REQUEST_TOO_LONG), setting="max_seq_len", cost="more cache a sequence", up=True),
    ),
    stands_before=("transformers", "vllm"),  # whose names it uses
)
PROGRAMS: Final = {
    "text_generation_inference": Program("text-generation-inference", _TGI, _reader(_TGI_LINES)),
    "lmdeploy": Program("LMDeploy", _LMDEPLOY, _reader(_LMDEPLOY_LINES)),
    "tensorrt_llm": Program("TensorRT-LLM", _TENSORRT, _reader(_TENSORRT_LINES)),
}
