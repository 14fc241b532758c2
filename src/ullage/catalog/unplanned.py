"""Servers for which nothing is planned, but whose deaths are understood: their words, and what helps, in their own settings."""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from ullage.catalog.torch_messages import FOUND, LONGEST, out_of_memory
from ullage.domain.cause import FirstAid, Hint, Kind
from ullage.domain.facts import Fact


class Program(NamedTuple):
    """One server: what people call it, its first aid, and what reads a line of its log."""

    title: str
    aid: FirstAid
    read: Callable[[str], Fact | None]


_STEP: Final = frozenset({Kind.ACTIVATIONS, Kind.WORKSPACE, Kind.CACHE_ALLOCATION, Kind.SAMPLER})
_WEIGHTS: Final = frozenset({Kind.WEIGHTS, Kind.NO_ROOM_FOR_CACHE})
_CACHE: Final = frozenset({Kind.CACHE_TOO_SMALL, Kind.NO_ROOM_FOR_CACHE})


def _one(kind: Kind) -> frozenset[Kind]:
    return frozenset({kind})


_TGI_ERRORS: Final = tuple(
    (name, re.compile(text))
    for name, text in (
        ("error.compute_allocation", r"[Nn]ot enough memory to (?:handle|run).{0,40}prefill"),
        ("error.kv_too_small", r"[Nn]ot enough memory to handle.{0,40}(?:total|decode|input)"),
        ("error.request_too_long", r"`inputs` (?:tokens \+ `max_new_tokens` )?must (?:be <=|have less than)"),
    )
)
_TGI: Final = FirstAid(
    reads=(*FOUND, *(pattern for _, pattern in _TGI_ERRORS)),
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


def _read_tgi(line: str) -> Fact | None:
    """The fact a line of text-generation-inference states, or None; PyTorch's own words first."""
    text = line[:LONGEST]
    failed = out_of_memory(text)
    if failed is not None:
        return failed
    return next((Fact(name=name, value=text.strip()[:200]) for name, pattern in _TGI_ERRORS if pattern.search(text)), None)


_LMDEPLOY: Final = FirstAid(
    reads=FOUND,
    signs=(r"\blmdeploy\b|\[TM\]\[(?:INFO|WARNING|ERROR|FATAL)\]|\b[Tt]urbo[Mm]ind|cache[-_]max[-_]entry[-_]count",),
    hints=(
        Hint(kinds=_one(Kind.WEIGHTS), setting="tp", cost="more devices", up=True),
        Hint(kinds=_one(Kind.WEIGHTS), setting="model_format", cost="fewer bits a weight: some quality", value="awq"),
        Hint(kinds=_STEP | {Kind.GRAPHS, Kind.WEIGHTS, Kind.DEVICE_NOT_FREE}, setting="cache_max_entry_count", cost="a smaller cache"),
        Hint(kinds=_STEP, setting="max_prefill_token_num", cost="slower prompts"),
        Hint(kinds=_STEP | {Kind.CACHE_PRESSURE}, setting="max_batch_size", cost="fewer sequences at once"),
        Hint(kinds=_CACHE, setting="cache_max_entry_count", cost="less room for a step", up=True),
        Hint(kinds=_CACHE | _STEP, setting="session_len", cost="shorter sequences"),
        Hint(kinds=_CACHE, setting="quant_policy", cost="8-bit keys and values: some quality", value=8),
        Hint(kinds=_one(Kind.REQUEST_TOO_LONG), setting="session_len", cost="more cache a sequence", up=True),
    ),
    stands_before=("transformers", "vllm"),  # whose loaders and names it uses
)


def _read_torch(line: str) -> Fact | None:
    """What PyTorch says in a line, or None."""
    return out_of_memory(line[:LONGEST])


PROGRAMS: Final = {
    "text_generation_inference": Program("text-generation-inference", _TGI, _read_tgi),
    "lmdeploy": Program("LMDeploy", _LMDEPLOY, _read_torch),
}
