"""Read one line of what Transformers, Accelerate and PyTorch print about memory."""

import re
from typing import Final

from ullage.catalog.torch_messages import FOUND, LONGEST, out_of_memory
from ullage.domain.facts import Fact
from ullage.units import MiB

_PATTERNS: Final = (
    ("error.pool_footprint", re.compile(r"Memory footprint (\d{1,18}) is more than available memory (\d{1,18})")),
    ("pool_available_bytes", re.compile(r"Memory available for cache allocation: (\d{1,12}) MB")),
    ("offloaded_to", re.compile(r"Some (?:parameters are|weights were) .{0,60}?offloaded to the (cpu|disk)(?: and (disk))?")),
    ("error.disk_offload", re.compile(r"weights offloaded to the disk|(?:provide|need) an `?offload_(?:folder|dir)")),
    ("offload_buffer_bytes", re.compile(r"Current model requires (\d{1,18}) bytes of buffer for offloaded layers")),
    ("weights_per_cent", re.compile(r"We will use (\d{1,3})% of the memory on device (\w+)")),
    ("error.device_too_small", re.compile(r"no modules could be assigned to the following devices due to insufficient memory")),
    ("error.cache_name", re.compile(r"Invalid `cache_implementation` \((\w{1,60})\)")),
    ("error.attention_name", re.compile(r"Specified `attn_implementation=\"([^\"]{1,80})\"` is not supported")),
    ("error.flash_attention_dtype", re.compile(r"FlashAttention only support fp16 and bf16 data type")),
    ("error.max_len_over_model", re.compile(r"Token indices sequence length is longer than .{0,80}?\((\d{1,9}) > (\d{1,9})\)")),
)

# What the planned script says of each batch (engines/transformers/command.py).
_BATCH: Final = re.compile(r"^generate\.py: (\d{1,9}) prompts of (\d{1,9}) tokens, (\d{1,9}) tokens of answer")

_IN: Final = {
    "bytes": ("error.pool_footprint", "pool_available_bytes", "offload_buffer_bytes"),
    "tokens": ("error.max_len_over_model",),
    "per cent": ("weights_per_cent",),
}
_SECOND: Final = {"error.pool_footprint": "available_bytes", "error.max_len_over_model": "max_tokens", "weights_per_cent": "device"}

READS: Final = (*FOUND, _BATCH, *(pattern for _, pattern in _PATTERNS))


def read_log_line(line: str) -> Fact | None:
    """The fact a line states, in bytes, or None."""
    text = line[:LONGEST]
    failed = out_of_memory(text)
    if failed is not None:
        return failed
    batch = _BATCH.search(text)
    if batch is not None:
        rows, prompt, answer = (int(group) for group in batch.groups())
        details = (("requests_running", rows), ("prompt_tokens", prompt), ("answer_tokens", answer))
        return Fact(name="batch", value=rows, unit="sequences", details=details)
    for name, pattern in _PATTERNS:
        match = pattern.search(text)
        if match is not None:
            return _fact(name, match)
    return None


def _fact(name: str, match: re.Match[str]) -> Fact:
    said = [group for group in match.groups() if group is not None]
    if name == "offloaded_to":
        return Fact(name=name, value=" and ".join(said))
    unit = next((unit for unit, names in _IN.items() if name in names), None)
    if name == "error.disk_offload":
        return Fact(name=name, value=match[0], details=(("offload", 1),))
    if unit is None:
        return Fact(name=name, value=said[0] if said else match[0])
    value = int(said[0]) * (MiB if name == "pool_available_bytes" else 1)
    return Fact(name=name, value=value, unit=unit, details=((_SECOND[name], _typed(said[1])),) if name in _SECOND else ())


def _typed(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def read_metrics(_text: str) -> tuple[Fact, ...]:
    """Nothing: ``transformers serve`` has no metrics page."""
    return ()
