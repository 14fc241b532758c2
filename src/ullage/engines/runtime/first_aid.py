"""What the runtime's logs are recognised by, and what helps."""

from typing import Final

from ullage.domain.cause import FirstAid, Hint, Kind, Stage

_GROWS: Final = frozenset({Kind.ACTIVATIONS, Kind.WORKSPACE, Kind.CACHE_ALLOCATION, Kind.HOST})

FIRST_AID = FirstAid(
    signs=(r"ullage\.runtime: ", r"-m ullage\.runtime\b", r"ullage[/\\]runtime[/\\]"),
    hints=(
        Hint(kinds=frozenset({Kind.WEIGHTS}), setting="weights", cost="fewer bits a weight: some quality", value="int8"),
        Hint(
            kinds=frozenset({Kind.HOST}),
            setting="weights",
            cost="fewer bits a weight: some quality",
            value="int8",
            stages=frozenset({Stage.LOAD}),
        ),
        Hint(
            kinds=frozenset({Kind.HOST}),
            setting="kv_dtype",
            cost="a cache of fewer bits: some speed",
            value="int8",
            stages=frozenset({Stage.CACHE}),
        ),
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
