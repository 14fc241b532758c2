"""What SGLang's logs are recognised by, what helps when it died, and which of its own advice misleads."""

from typing import Final

from ullage.domain.cause import Advice, FirstAid, Hint, Kind
from ullage.engines.sglang.log import READS

_CACHE: Final = frozenset({Kind.CACHE_TOO_SMALL, Kind.NO_ROOM_FOR_CACHE})
_STEP: Final = frozenset({Kind.ACTIVATIONS, Kind.WORKSPACE, Kind.SAMPLER})
_TIGHT: Final = frozenset({Kind.GRAPHS, Kind.ACTIVATIONS, Kind.WORKSPACE, Kind.SAMPLER, Kind.CACHE_ALLOCATION})

HINTS: Final = (
    Hint(kinds=_CACHE, setting="mem_fraction_static", cost="less room for a step", up=True),
    Hint(kinds=_CACHE | {Kind.WEIGHTS}, setting="tp_size", cost="more devices", up=True),
    Hint(kinds=_CACHE | {Kind.WEIGHTS}, setting="quantization", cost="fewer bits a weight: some quality", value="fp8"),
    Hint(kinds=frozenset({Kind.CACHE_TOO_SMALL}), setting="context_length", cost="shorter sequences"),
    Hint(kinds=_CACHE, setting="kv_cache_dtype", cost="8-bit keys and values: some quality", value="fp8_e5m2"),
    Hint(kinds=frozenset({Kind.GRAPHS}), setting="cuda_graph_max_bs", cost="no graphs for large batches"),
    Hint(kinds=_TIGHT - {Kind.ACTIVATIONS, Kind.WORKSPACE}, setting="mem_fraction_static", cost="a smaller cache"),
    Hint(kinds=_STEP, setting="chunked_prefill_size", cost="slower prompts"),
    Hint(kinds=_STEP, setting="mem_fraction_static", cost="a smaller cache"),
    Hint(kinds=_TIGHT, setting="max_running_requests", cost="fewer sequences at once"),
    Hint(kinds=frozenset({Kind.GRAPHS}), setting="disable_cuda_graph", cost="slower decoding", value=True),
    Hint(kinds=frozenset({Kind.ACTIVATIONS, Kind.CACHE_ALLOCATION}), setting="context_length", cost="shorter sequences"),
    Hint(kinds=frozenset({Kind.WEIGHTS}), setting="cpu_offload_gb", cost="weights cross the bus at every step", up=True),
    Hint(kinds=frozenset({Kind.DEVICE_NOT_FREE}), setting="mem_fraction_static", cost="a smaller cache"),
    Hint(kinds=frozenset({Kind.CACHE_PRESSURE}), setting="max_running_requests", cost="fewer sequences at once"),
    Hint(kinds=frozenset({Kind.CACHE_PRESSURE}), setting="mem_fraction_static", cost="less room for a step", up=True),
    Hint(kinds=frozenset({Kind.CACHE_PRESSURE}), setting="kv_cache_dtype", cost="8-bit keys and values: some quality", value="fp8_e5m2"),
    Hint(kinds=frozenset({Kind.ONE_BLOCK}), setting="chunked_prefill_size", cost="slower prompts"),
    Hint(kinds=frozenset({Kind.REQUEST_TOO_LONG}), setting="context_length", cost="more cache a sequence", up=True),
    Hint(kinds=frozenset({Kind.HOST}), setting="hicache_size", cost="a smaller host tier"),
)
FIRST_AID = FirstAid(
    reads=READS,
    fills_budget=True,
    signs=(
        r"sglang[/\\](?:srt|launch_server|lang)",
        r"\bsglang\b.{0,30}?version[ =:]*(?P<version>\d[\w.]*)",
        r"\bsglang==(?P<version>\d[\w.]*)",
        r"ServerArgs\(|mem_fraction_static|--mem-fraction-static|sglang\.launch_server|\bDP attention\b|--chunked-prefill-size",
        r"Load weight (?:begin|end)\.|KV Cache is allocated\.|Memory pool end\.|max_total_num_tokens=",
    ),
    hints=HINTS,
    arguments=(r"server_args=ServerArgs\((?P<said>.*)\)",),
    advice=(
        Advice(
            pattern=r"Please try to increase --mem-fraction-static",
            why="it sounds like too little memory, and means that the weights already fill the share; where the share is near the "
            "whole card, only fewer weights a card help",
            gives="share",
        ),
        Advice(
            pattern=r"[Uu]se the profiled value instead",
            why="a profiled value of nothing or less is no size: the weights leave no room for a cache",
            kinds=_CACHE,
        ),
        Advice(
            pattern=r"PYTORCH_(?:CUDA_|HIP_)?ALLOC_CONF",
            why="this is about fragments of the allocator; the log shows too few of them to make up for what is missing",
            gives="unallocated",
        ),
    ),
)
