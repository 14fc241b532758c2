"""Read one line of what ExLlamaV2 and the servers around it print about memory. The library logs no sizes of its own."""

from typing import Final

from ullage.catalog.exllama_messages import COMMON, Pattern, pattern, read_line, reads
from ullage.domain.facts import Fact

_PATTERNS: Final[tuple[Pattern, ...]] = (
    pattern("error.split_too_small", r"Insufficient space in device allocation"),
    pattern("error.no_room", r"Insufficient VRAM for model and cache"),
    pattern("error.cache_full", r"Total sequence length exceeds cache size in model\.forward"),
    pattern("error.input_too_long", r"Maximum input length exceeded in model\.forward"),
    pattern("error.cache_pages", r"cache\.max_seq_len must be multiple of 256"),
    pattern(
        "error.batch_too_small",
        r"Model has max_batch_size \* max_input_len = (\d{1,9}) \* (\d{1,9}) tokens, generator requires",
        "rows",
        "tokens",
    ),
    pattern("error.too_many_splits", r"Too many entries in gpu_split\. (\d{1,4}) CUDA devices", "devices"),
    pattern("error.cache_kind", r"Dynamic generator does not currently work with 8-bit cache"),
    *COMMON,
)

READS: Final = reads(_PATTERNS)


def read_log_line(line: str) -> Fact | None:
    """The fact a line states, or None."""
    return read_line(line, _PATTERNS)


def read_metrics(_text: str) -> tuple[Fact, ...]:
    """Nothing: neither the library nor TabbyAPI has a metrics page."""
    return ()
