"""Dual chunk attention: what a step of a long prefill needs beside weights and cache, the same in every engine that took the kernels.

Sources: ``dual_chunk_flash_attn.py`` of vLLM 0.9.0 to 0.10.2 and of SGLang 0.5.1 to 0.5.19, whose buffers are alike.
"""

from ullage.domain.architecture import Architecture, DualChunk, FullAttention
from ullage.domain.ledger import Amount
from ullage.formulas.sharding import ceil_div
from ullage.frozen import dataclass
from ullage.units import format_bytes

# Every step needs larger buffers than the last, so what the last step freed is cached but often too small to be used again.
STALE_TENTHS = 7
# Bytes per score of the last queries: 16-bit pieces and their joined copy, the fp32 copy and its softmax; fp16 fuses the fp32 copy.
SCORE_BYTES, FUSED_SCORE_BYTES = 12, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """The largest step of a prefill: its workspace, what is live around it, how many steps there are, and the arithmetic."""

    workspace: Amount
    live_bytes: int
    steps: int
    because: str


def attention_of(architecture: Architecture) -> tuple[FullAttention, DualChunk] | None:
    """The first attention with dual chunk settings, and the settings."""
    for layer in architecture.layers:
        for mixer in layer.mixers:
            if isinstance(mixer, FullAttention) and mixer.dual_chunk is not None:
                return mixer, mixer.dual_chunk
    return None


def bytes_per_token(mixer: FullAttention, dual: DualChunk, *, heads: int, length: int, element: int, fused_scores: bool) -> tuple[int, str]:
    """Workspace of one context token on a rank with ``heads`` query heads, and its terms in words.

    Sparse: heads x (4 D + 12 x last queries) in bf16. Dense: keys and values of one head at a time, 4 D.
    """
    pair = 2 * element * mixer.key_dim
    if not dual.sparse or length <= dual.sparse_threshold_tokens:
        return pair, f"{2 * element} x {mixer.key_dim} B"
    scores = FUSED_SCORE_BYTES if fused_scores else SCORE_BYTES
    terms = f"{heads} query heads x ({2 * element} x {mixer.key_dim} + {scores} x {dual.sparse_last_queries}) B"
    return heads * (pair + scores * dual.sparse_last_queries), terms


def prefill_workspace(
    architecture: Architecture,
    *,
    heads: int,
    kv_heads: int,
    length: int,
    chunk: int,
    element: int,
    fused_scores: bool,
) -> Workspace | None:
    """The last step of the longest prompt on one rank; ``chunk`` is the batch of one step, ``heads`` the rank's own. None without it."""
    found = attention_of(architecture)
    if found is None:
        return None
    mixer, dual = found
    chunk = min(chunk, length)
    each, terms = bytes_per_token(mixer, dual, heads=heads, length=length, element=element, fused_scores=fused_scores)
    largest, previous, steps = each * length, each * max(length - chunk, 0), ceil_div(length, max(chunk, 1))
    width = 2 * architecture.hidden_size + (heads + 2 * kv_heads) * mixer.key_dim + 6 * heads * mixer.key_dim
    kind = "sparse" if dual.sparse and length > dual.sparse_threshold_tokens else "dense"
    return Workspace(
        workspace=Amount(largest * 95 // 100, largest, largest + previous * STALE_TENTHS // 10),
        live_bytes=chunk * element * width,
        steps=steps,
        because=(f"{kind} dual chunk prefill over {length:,} tokens x {terms} = {format_bytes(largest)} in the last of {steps} steps"),
    )
