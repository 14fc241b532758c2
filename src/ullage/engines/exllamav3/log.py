"""Read one line of what ExLlamaV3 and TabbyAPI print about memory."""

from typing import Final

from ullage.catalog.exllama_messages import COMMON, Pattern, pattern, read_line, reads
from ullage.domain.facts import Fact

_PATTERNS: Final[tuple[Pattern, ...]] = (
    pattern("error.no_room", r"Insufficient VRAM in split for model and cache"),
    pattern("error.cache_pages", r"max_num_tokens must be a multiple of 256"),
    pattern("error.unsupported_gpu", r"Unable to run ExllamaV3 because an unsupported GPU"),
    *COMMON,
)

READS: Final = reads(_PATTERNS)


def read_log_line(line: str) -> Fact | None:
    """The fact a line states, or None."""
    return read_line(line, _PATTERNS)
