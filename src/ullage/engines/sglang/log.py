"""Read one line of SGLang's log: what it states about memory, as a fact in bytes. SGLang's GB are powers of 1024."""

import re
from typing import Final

from ullage.catalog.torch_messages import FOUND, LONGEST, out_of_memory
from ullage.domain.facts import Fact
from ullage.units import GiB

Detail = tuple[str, int | float | str]

_COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_N = r"-?\d{1,15}(?:\.\d{1,9})?"


def _gb(name: str) -> str:
    return rf"(?P<{name}_gib>{_N}) ?G(?:i?)B"


def _count(name: str) -> str:
    return rf"(?P<{name}_count>-?\d{{1,18}})"


# A group is named by its detail and how it is read: ``x_gib`` becomes ``x_bytes``, ``x_count`` a whole number, ``x_number`` a number.
# The first detail is the fact's value.
_ERRORS: Final = tuple(
    (name, re.compile(text))
    for name, text in (
        (
            "error.no_kv_blocks",
            (
                rf"Loaded weights leave no GPU memory for the KV cache under --mem-fraction-static=(?P<utilization_number>{_N})\.?"
                rf"(?: Raise --mem-fraction-static above (?P<least_number>{_N}))?"
            ),
        ),
        ("error.no_kv_blocks", r"Not enough memory\. Please try to increase --mem-fraction-static"),
        ("error.no_state", rf"Not enough GPU memory for hybrid .*?max_mamba_cache_size={_count('slots')}"),
        ("error.no_state", rf"state cache is too small to serve any requests\. max_mamba_cache_size={_count('slots')}"),
        ("error.graph_capture", r"Capture cuda graph failed"),
        ("error.prefill_oom", r"(?:Prefill|prefill) out of memory"),
        ("error.decode_oom", r"(?:Decode|decode) out of memory|No space left for only one request"),
        ("error.request_slots", r"alloc_req_slots runs out of memory"),
        ("error.window_pool", rf"SWA pool \({_count('window_tokens')} tokens\) cannot hold even one request"),
        ("error.unbalanced", r"The memory capacity is unbalanced"),
        (
            "error.total_tokens",
            rf"max_total_tokens={_count('max_total_tokens')} is larger than the profiled value {_count('profiled_tokens')}",
        ),
        (
            "error.prompt_too_long",
            rf"The input \({_count('prompt')} tokens\) is longer than the(?: model's context length \({_count('context_length')})?",
        ),
        (
            "error.max_len_over_model",
            (
                rf"User-specified context_length \({_count('context_length')}\) is greater than the derived context_length "
                rf"\({_count('model_length')}\)"
            ),
        ),
        ("error.dual_chunk", r"Dual chunk attention is enabled, but attention backend is set to (?P<backend_text>\S+?)\."),
        ("error.dual_chunk", r"DualChunkRotaryEmbedding has no native path"),
        ("error.arguments", r"error: (?P<message_text>unrecognized arguments: .*|ambiguous option: .*|argument .*)"),
    )
)
_FACTS: Final = tuple(
    (name, re.compile(text))
    for name, text in (
        ("free_bytes", rf"Init torch (?:distributed )?(?:begin|ends?)\..*?(?:[Aa]vail mem={_gb('free')}|mem usage={_gb('network')})"),
        ("free_bytes", rf"Load weight begin\. [Aa]vail mem={_gb('free')}"),
        (
            "weights_bytes",
            rf"Load weight end\..*?(?:type=(?P<class_text>\w+), .*?)?[Aa]vail mem={_gb('free')}(?:, mem usage={_gb('weights')})?",
        ),
        (
            "kv_tokens",
            (
                rf"KV Cache (?:is allocated|VA upper bound)\.?:? (?:dtype: (?P<kv_cache_dtype_text>\S+), )?#tokens: {_count('kv_tokens')}, "
                rf"(?:K size: {_gb('key')}, V size: {_gb('value')}|KV size: {_gb('kv')})"
            ),
        ),
        (
            "kv_tokens",
            (
                rf"KV cache allocated\. dtype: (?P<kv_cache_dtype_text>\S+), #tokens: {_count('kv_tokens')}, KV size: {_gb('kv')}, "
                rf"[Aa]vail mem={_gb('free')}"
            ),
        ),
        (
            "state_slots",
            (
                rf"Mamba Cache is allocated\. max_mamba_cache_size: {_count('state_slots')}, conv_state size: {_gb('conv')}, ?"
                rf"ssm_state size: {_gb('state')}"
            ),
        ),
        (
            "full_tokens",
            (
                rf"[Uu]se [Ss]liding window memory pool\. full_layer_tokens={_count('full_tokens')}, "
                rf"swa_layer_tokens={_count('window_tokens')}"
            ),
        ),
        ("free_after_pool_bytes", rf"Memory pool end\. [Aa]vail mem={_gb('free_after_pool')}"),
        ("graph_bytes", rf"Capture .*?end\..*?mem usage={_gb('graph')}[.,] [Aa]vail mem={_gb('free')}"),
        (
            "max_total_tokens",
            (
                rf"max_total_num_tokens={_count('max_total_tokens')}, (?:chunked_prefill_size={_count('chunked_prefill_size')}, )?"
                rf"max_prefill_tokens={_count('max_prefill_tokens')}, max_running_requests={_count('max_running_requests')}, "
                rf"context_len={_count('context_length')}(?:, available_gpu_mem={_gb('free')})?"
            ),
        ),
        (
            "retracted",
            rf"(?:KV cache pool is full|Decode out of memory happened)\. (?:Retract requests\. )?#retracted_reqs: {_count('retracted')}",
        ),
        (
            "kv_cache_usage",
            (
                rf"Decode batch.*?#running-req: {_count('requests_running')}, .*?#?(?:full )?token: {_count('tokens_in_use')}, "
                rf"(?:full )?token usage: (?P<kv_cache_usage_number>{_N})(?:.*?#queue-req: {_count('requests_waiting')})?"
            ),
        ),
    )
)

READS: Final = (*FOUND, *(pattern for _, pattern in (*_ERRORS, *_FACTS)))


def read_log_line(line: str) -> Fact | None:
    """The fact a line states, or None. The allocator's own account comes first, then errors, then sizes."""
    text = _COLOUR.sub("", line[:LONGEST]).strip()
    if not text:
        return None
    retracted = _first(_FACTS[10:11], text)
    return retracted or _capture(text) or out_of_memory(text) or _first(_ERRORS, text) or _first(_FACTS, text)


def _capture(text: str) -> Fact | None:
    """A failed capture names itself, whatever the allocator says in the same line."""
    return _first(_ERRORS[4:5], text)


def _first(patterns: tuple[tuple[str, re.Pattern[str]], ...], text: str) -> Fact | None:
    for name, pattern in patterns:
        match = pattern.search(text)
        if match is not None:
            return _fact(name, _details(match), text)
    return None


def _fact(name: str, details: list[Detail], text: str) -> Fact:
    """The detail of that name is the value; keys and values are summed; an error's value is its first detail, or the line."""
    known = dict(details)
    if "key_bytes" in known and "value_bytes" in known:
        known["kv_bytes"] = int(known["key_bytes"]) + int(known["value_bytes"])
    if name in known:
        value = known.pop(name)
        return Fact(name=name, value=value, unit=_unit(name), details=tuple(known.items()))
    first = next(iter(known.items()), None)
    if first is not None:
        return Fact(
            name=name if name.startswith("error.") else first[0], value=first[1], unit=_unit(first[0]), details=tuple(known.items())
        )
    return Fact(name=name, value=text[:200])


def _unit(name: str) -> str:
    return "bytes" if name.endswith("_bytes") else "tokens" if name.endswith("_tokens") else ""


def _details(match: re.Match[str]) -> list[Detail]:
    found: list[Detail] = []
    for group, text in match.groupdict().items():
        if text is None:
            continue
        name, _, how = group.rpartition("_")
        match how:
            case "gib":
                found.append((f"{name}_bytes", round(float(text) * GiB)))
            case "count":
                found.append((name, int(text)))
            case "number":
                found.append((name, float(text)))
            case _:
                found.append((name, text))
    return found
