"""What the runtime's logs are recognised by, and what helps."""

from typing import Final

from ullage.domain.cause import FirstAid, Hint, Kind, Stage
from ullage.engines.runtime.log import READS

_GROWS: Final = frozenset({Kind.ACTIVATIONS, Kind.WORKSPACE, Kind.CACHE_ALLOCATION})
_HOST: Final = frozenset({Kind.HOST})
_RESERVING: Final = frozenset({Stage.CACHE})  # all that the cache may grow to, of which a step takes nothing
_NOT_RESERVING: Final = frozenset(Stage) - _RESERVING

FIRST_AID = FirstAid(
    reads=READS,
    signs=(r"ullage\.runtime: ", r"-m ullage\.runtime\b", r"ullage[/\\]runtime[/\\]"),
    hints=(
        Hint(kinds=frozenset({Kind.WEIGHTS}), setting="weights", cost="fewer bits a weight: some quality", value="int8"),
        Hint(
            kinds=_HOST,
            setting="weights",
            cost="fewer bits a weight: some quality",
            value="int8",
            stages=frozenset({Stage.LOAD}),
        ),
        Hint(kinds=_HOST, setting="max_seqs", cost="the others wait", stages=_RESERVING),
        Hint(kinds=_HOST, setting="max_len", cost="shorter sequences", stages=_RESERVING),
        Hint(kinds=_HOST, setting="cache", cost="fewer tokens at once", stages=_RESERVING),
        Hint(kinds=_HOST, setting="kv_dtype", cost="a cache of fewer bits: some speed", value="int8", stages=_RESERVING),
        Hint(kinds=_HOST, setting="memory", cost="a smaller cache", stages=_NOT_RESERVING),
        Hint(kinds=_HOST, setting="chunk", cost="slower prompts", stages=_NOT_RESERVING),
        Hint(kinds=_HOST, setting="kv_dtype", cost="a cache of fewer bits: some speed", value="int8", stages=_NOT_RESERVING),
        Hint(kinds=_GROWS, setting="memory", cost="a smaller cache"),
        Hint(kinds=_GROWS, setting="chunk", cost="slower prompts"),
        Hint(kinds=_GROWS, setting="kv_dtype", cost="a cache of fewer bits: some speed", value="int8"),
        Hint(kinds=frozenset({Kind.NO_ROOM_FOR_CACHE}), setting="memory", cost="less for others", up=True),
        Hint(kinds=frozenset({Kind.NO_ROOM_FOR_CACHE}), setting="chunk", cost="slower prompts"),
        Hint(kinds=frozenset({Kind.REQUEST_TOO_LONG}), setting="max_len", cost="more cache for one request", up=True),
    ),
    fills_budget=False,
    stands_before=("llama_cpp", "transformers"),  # it reads GGUF files and safetensors, whose names are theirs too
)
