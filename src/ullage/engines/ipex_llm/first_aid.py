"""What the logs of IPEX-LLM and its fork of vLLM are recognised by, what helps, and which of their words mislead."""

from typing import Final

from ullage.domain.cause import Advice, FirstAid, Hint, Kind, Stage
from ullage.engines.ipex_llm.log import READS

_CACHE: Final = frozenset({Kind.CACHE_TOO_SMALL, Kind.NO_ROOM_FOR_CACHE})
# Stages at which there is a cache that could be smaller, or may be.
_SIZED: Final = frozenset(Stage) - {Stage.PROFILE, Stage.LOAD}
_SERVED: Final = frozenset({Kind.CACHE_PRESSURE, Kind.SAMPLER, Kind.GRAPHS})
_STEP: Final = frozenset({Kind.WORKSPACE, Kind.ACTIVATIONS, Kind.CACHE_ALLOCATION})

FIRST_AID = FirstAid(
    reads=READS,
    fills_budget=True,
    signs=(
        r"ipex[_-]llm(?:\s*(?:==|version:?)\s*(?P<version>\d[\w.]*))?|bigdl[_-]llm",
        r"intel_extension_for_pytorch|\bIPEX\b|XPU out of memory|\bxpu_worker\b|load_in_low_bit|Converting the current model to \w+ format",
        r"Current platform can NOT allocate memory block|IPEX cannot allocate",
    ),
    hints=(
        Hint(kinds=frozenset({Kind.CACHE_TOO_SMALL}), setting="max_model_len", cost="shorter sequences"),
        Hint(kinds=_CACHE, setting="gpu_memory_utilization", cost="less room for a step", up=True),
        Hint(kinds=_CACHE | {Kind.WEIGHTS}, setting="tensor_parallel_size", cost="more cards", up=True),
        Hint(kinds=_STEP, setting="gpu_memory_utilization", cost="a smaller cache", stages=_SIZED),
        Hint(kinds=_STEP | {Kind.ONE_BLOCK}, setting="max_num_batched_tokens", cost="slower prompts"),
        Hint(kinds=frozenset({Kind.ONE_BLOCK}), setting="max_model_len", cost="shorter sequences", names=("prompt length", "input length")),
        Hint(kinds=_STEP, setting="max_num_seqs", cost="fewer sequences at once"),
        Hint(kinds=frozenset({Kind.ONE_BLOCK}), setting="IPEX_LLM_SPLIT_QKV", cost="attention in parts", value="1"),
        Hint(
            kinds=frozenset({Kind.ONE_BLOCK}),
            setting="UR_L0_ENABLE_RELAXED_ALLOCATION_LIMITS",
            cost="only drivers of level zero read it",
            value="1",
        ),
        Hint(kinds=frozenset({Kind.WEIGHTS}), setting="load_in_low_bit", cost="fewer bits a weight: some quality", value="sym_int4"),
        Hint(kinds=frozenset({Kind.WEIGHTS}), setting="cpu_embedding", cost="the token table is read from the host", value=True),
        Hint(
            kinds=frozenset({Kind.NO_ROOM_FOR_CACHE}), setting="load_in_low_bit", cost="fewer bits a weight: some quality", value="sym_int4"
        ),
        Hint(kinds=frozenset({Kind.ACTIVATIONS}), setting="max_model_len", cost="shorter sequences", names=("prompt length",)),
        Hint(kinds=_SERVED, setting="max_num_seqs", cost="fewer sequences at once"),
        Hint(kinds=_SERVED - {Kind.CACHE_PRESSURE}, setting="gpu_memory_utilization", cost="a smaller cache"),
        Hint(kinds=frozenset({Kind.CACHE_PRESSURE}), setting="gpu_memory_utilization", cost="less room for a step", up=True),
        Hint(kinds=frozenset({Kind.GRAPHS}), setting="enforce_eager", cost="slower decoding without graphs", value=True),
        Hint(kinds=frozenset({Kind.REQUEST_TOO_LONG}), setting="max_model_len", cost="more cache a sequence", up=True),
        Hint(kinds=frozenset({Kind.HOST}), setting="host memory", cost="a larger machine; the 16-bit model is converted there", up=True),
        Hint(kinds=frozenset({Kind.DEVICE_LOST}), setting="driver and runtime", cost="an upgrade", value="the releases the project names"),
    ),
    arguments=(r"args: Namespace\((?P<said>.*)\)", r"LLM engine \(v[^)]*\) with config: (?P<said>.*)"),
    stands_before=("vllm", "transformers", "llama_cpp"),
    advice=(
        Advice(
            pattern=r"DEVICE_LOST",
            why="a lost device is usually no want of memory, also where it happens while memory is measured: lowering shares does not help",
        ),
    ),
)
