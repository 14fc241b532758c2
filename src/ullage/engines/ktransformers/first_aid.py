"""What the logs of KTransformers, the classic server and the fork of SGLang, are recognised by, and what helps when it died."""

from typing import Final

from ullage.domain.cause import Advice, FirstAid, Hint, Kind
from ullage.engines.ktransformers.log import READS

_STEP: Final = frozenset({Kind.ACTIVATIONS, Kind.WORKSPACE})
_ALL: Final = frozenset({Kind.ACTIVATIONS, Kind.WORKSPACE, Kind.GRAPHS, Kind.CACHE_ALLOCATION, Kind.WEIGHTS})

FIRST_AID = FirstAid(
    reads=READS,
    signs=(
        r"ktransformers|KTransformers|kt[_-]kernel|--kt-|kt_(?:num_gpu_experts|method|weight_path|cpuinfer)",
        r"cache_lens|--gguf_path|Injecting \S+ as|KExperts\w+|local_chat",
    ),
    hints=(
        Hint(
            kinds=frozenset({Kind.REQUEST_TOO_LONG}), setting="cache_lens", cost="a larger cache and, in old releases, workspace", up=True
        ),
        Hint(kinds=_STEP | {Kind.CACHE_ALLOCATION, Kind.GRAPHS}, setting="cache_lens", cost="shorter sequences"),
        Hint(kinds=_STEP | {Kind.GRAPHS}, setting="chunk_size", cost="slower prompts", names=("chunk_prefill_size", "max_chunk_size")),
        Hint(kinds=_ALL, setting="kt_num_gpu_experts", cost="more experts run on the processor"),
        Hint(kinds=_ALL, setting="transfer_map", cost="none: layers lie on more GPUs", value="a multi-GPU rules file"),
        Hint(kinds=_ALL, setting="mem_fraction_static", cost="a smaller cache"),
        Hint(kinds=_ALL, setting="chunked_prefill_size", cost="slower prompts"),
        Hint(kinds=frozenset({Kind.NO_ROOM_FOR_CACHE, Kind.CACHE_TOO_SMALL}), setting="mem_fraction_static", cost="less room", up=True),
        Hint(kinds=frozenset({Kind.NO_ROOM_FOR_CACHE}), setting="kt_num_gpu_experts", cost="more experts run on the processor"),
        Hint(kinds=frozenset({Kind.CACHE_PRESSURE}), setting="max_running_requests", cost="fewer sequences at once"),
        Hint(kinds=frozenset({Kind.CACHE_PRESSURE}), setting="mem_fraction_static", cost="less room", up=True),
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
