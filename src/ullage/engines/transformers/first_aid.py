"""What the logs of Transformers and Accelerate are recognised by, what helps, and which of their advice misleads."""

from typing import Final

from ullage.catalog.common_hints import WATERMARK
from ullage.domain.cause import Advice, FirstAid, Hint, Kind, Stage
from ullage.engines.transformers.log import READS

_WEIGHTS: Final = frozenset({Kind.WEIGHTS})
_GROWS: Final = frozenset({Kind.ACTIVATIONS, Kind.WORKSPACE, Kind.CACHE_ALLOCATION})
_RUNNING: Final = frozenset({Stage.FIRST_PROMPT, Stage.UNDER_LOAD})
_HOST: Final = frozenset({Kind.HOST})

FIRST_AID = FirstAid(
    reads=READS,
    signs=(
        r"transformers[/\\](?:modeling_utils|generation|models|integrations|pipelines)",
        r"accelerate[/\\](?:hooks|utils|big_modeling)|\bdevice_map\b|from_pretrained\(|model\.generate\(|\btransformers serve\b",
        r"^Loading checkpoint shards|load_checkpoint_and_dispatch|AutoModelFor\w+|\bOutput generated in \d",
        r"MPS backend out of memory|modules are dispatched on the CPU or the disk|load_in_[48]bit|BitsAndBytes",
        r"transformers(?:==|(?: version)?: ?)(?P<version>\d+\.\d[\w.]*)",
    ),
    arguments=(r"^generate\.py: transformers==\S+ (?P<said>.*)",),
    hints=(
        Hint(
            kinds=_GROWS | _WEIGHTS,
            setting=WATERMARK,
            cost="no limit any more: the whole machine can run out of memory",
            value="0.0",
            stated="watermark",
        ),
        Hint(
            kinds=_GROWS,
            setting="attn_implementation",
            cost="another kernel has to be there",
            value="flash_attention_2",
            stated="over_device",
        ),
        Hint(
            kinds=_WEIGHTS | _GROWS,
            setting="max_memory",
            cost="fewer layers on the first device",
            value="less for GPU 0",
            stated="dispatched",
        ),
        Hint(kinds=_GROWS, setting="attn_implementation", cost="another kernel has to be there", value="sdpa", stated="plain_attention"),
        Hint(kinds=_WEIGHTS, setting="quantization", cost="fewer bits a weight: some quality", value="int4", names=("load_in_4bit",)),
        Hint(kinds=_WEIGHTS, setting="torch_dtype", cost="16 bits for what was 32", value="auto", names=("dtype",)),
        Hint(kinds=_WEIGHTS, setting="device_map", cost="layers on more devices, or on the host and slow", value="auto"),
        Hint(kinds=_HOST, setting="attn_implementation", cost="another kernel has to be there", value="sdpa", stages=_RUNNING),
        Hint(kinds=_HOST, setting="concurrency", cost="fewer sequences in a batch", stages=frozenset({Stage.UNDER_LOAD})),
        Hint(kinds=_HOST, setting="prefill_chunk_size", cost="slower prompts", value=2048, stages=_RUNNING),
        Hint(kinds=_HOST, setting="context", cost="shorter prompts and answers", stages=_RUNNING),
        Hint(kinds=_HOST, setting="concurrency", cost="fewer sequences in a batch", stages=_RUNNING),
        Hint(kinds=_GROWS, setting="context", cost="shorter prompts and answers"),
        Hint(kinds=_GROWS, setting="attn_implementation", cost="another kernel has to be there", value="sdpa"),
        Hint(kinds=_GROWS, setting="prefill_chunk_size", cost="slower prompts", value=2048),
        Hint(kinds=_GROWS, setting="cache_implementation", cost="slower decoding", value="offloaded"),
        Hint(kinds=_GROWS, setting="concurrency", cost="fewer sequences in a batch"),
        Hint(kinds=_GROWS, setting="max_memory", cost="fewer layers on the first device", value="less for GPU 0"),
        Hint(kinds=frozenset({Kind.ONE_BLOCK}), setting="attn_implementation", cost="another kernel has to be there", value="sdpa"),
        Hint(kinds=frozenset({Kind.ONE_BLOCK}), setting="context", cost="shorter prompts and answers"),
        Hint(kinds=frozenset({Kind.ONE_BLOCK}), setting="prefill_chunk_size", cost="slower prompts", value=2048),
        Hint(kinds=frozenset({Kind.NO_ROOM_FOR_CACHE}), setting="max_batch_tokens", cost="slower prompts"),
        Hint(kinds=frozenset({Kind.NO_ROOM_FOR_CACHE}), setting="max_memory_percent", cost="less room for others", up=True),
        Hint(kinds=_HOST, setting="torch_dtype", cost="16 bits for what was 32", value="auto", names=("dtype",)),
        Hint(kinds=_HOST, setting="low_cpu_mem_usage", cost="none", value=True),
        Hint(kinds=frozenset({Kind.PLACEMENT}), setting="max_memory", cost="another division of layers", value="more"),
        Hint(
            kinds=frozenset({Kind.COMMAND}),
            setting="offload_folder",
            cost="what is on the disk is read at every step: very slow",
            value="offload",
            names=("offload_dir",),
            stated="offload",
        ),
        Hint(
            kinds=frozenset({Kind.COMMAND}),
            setting="quantization",
            cost="fewer bits a weight: some quality",
            value="int4",
            stated="offload",
        ),
    ),
    advice=(
        Advice(
            pattern=rf"{WATERMARK}=0\.0",
            why="without this limit the whole machine can run out of memory, as the same line says: take less first",
        ),
        Advice(
            pattern=r"PYTORCH_(?:CUDA_|HIP_)?ALLOC_CONF|max_split_size_mb|expandable_segments",
            why="this is about fragments of the allocator; the log shows too few of them to make up for what is missing",
            gives="unallocated",
        ),
    ),
)
