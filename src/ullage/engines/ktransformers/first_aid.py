"""What the logs of KTransformers, the classic server and the fork of SGLang, are recognised by, and what helps when it died."""

from typing import Final

from ullage.domain.cause import Advice, FirstAid, Hint, Kind
from ullage.engines.ktransformers.log import READS

_STEP: Final = frozenset({Kind.ACTIVATIONS, Kind.WORKSPACE})
_ALL: Final = frozenset({Kind.ACTIVATIONS, Kind.WORKSPACE, Kind.GRAPHS, Kind.CACHE_ALLOCATION, Kind.WEIGHTS})
_FORK: Final = (0, 4)  # the first release that is a fork of SGLang


def _classic(
    kinds: frozenset[Kind], setting: str, cost: str, *, up: bool = False, value: str | None = None, names: tuple[str, ...] = ()
) -> Hint:
    return Hint(kinds=kinds, setting=setting, cost=cost, up=up, value=value, names=names, before=_FORK)


def _forked(kinds: frozenset[Kind], setting: str, cost: str, *, up: bool = False) -> Hint:
    return Hint(kinds=kinds, setting=setting, cost=cost, up=up, since=_FORK)


FIRST_AID = FirstAid(
    reads=READS,
    signs=(
        r"ktransformers|KTransformers|kt[_-]kernel|--kt-|kt_(?:num_gpu_experts|method|weight_path|cpuinfer)",
        r"cache_lens|--gguf_path|Injecting \S+ as|KExperts\w+|local_chat",
    ),
    hints=(
        _classic(frozenset({Kind.REQUEST_TOO_LONG}), "cache_lens", "a larger cache and, in old releases, workspace", up=True),
        _classic(_STEP | {Kind.CACHE_ALLOCATION, Kind.GRAPHS}, "cache_lens", "shorter sequences"),
        _classic(_STEP | {Kind.GRAPHS}, "chunk_size", "slower prompts", names=("chunk_prefill_size", "max_chunk_size")),
        _forked(_ALL, "kt_num_gpu_experts", "more experts run on the processor"),
        _classic(_ALL, "transfer_map", "none: layers lie on more GPUs", value="a multi-GPU rules file"),
        _forked(_ALL, "mem_fraction_static", "a smaller cache"),
        _forked(_ALL, "chunked_prefill_size", "slower prompts"),
        _forked(frozenset({Kind.NO_ROOM_FOR_CACHE, Kind.CACHE_TOO_SMALL}), "mem_fraction_static", "less room", up=True),
        _forked(frozenset({Kind.NO_ROOM_FOR_CACHE}), "kt_num_gpu_experts", "more experts run on the processor"),
        _forked(frozenset({Kind.CACHE_PRESSURE}), "max_running_requests", "fewer sequences at once"),
        _forked(frozenset({Kind.CACHE_PRESSURE}), "mem_fraction_static", "less room", up=True),
        Hint(kinds=frozenset({Kind.HOST}), setting="numactl binding", cost="experts lie on both sockets", value="drop"),
        Hint(kinds=frozenset({Kind.HOST}), setting="host memory", cost="room for all experts", up=True),
        Hint(kinds=frozenset({Kind.HOST}), setting="gguf_type", cost="a narrower file: some quality", value="smaller"),
    ),
    arguments=(r"server_args=ServerArgs\((?P<said>.*)\)",),
    stands_before=("sglang", "transformers", "llama_cpp"),
    advice=(
        Advice(
            pattern=r"size of tensor a \(\d+\) must match the size of tensor b \(\d+\)",
            why="it looks like a bug of shapes; at the cache's length it says that the sequence is longer than cache_lens",
            kinds=frozenset({Kind.REQUEST_TOO_LONG}),
        ),
    ),
)
