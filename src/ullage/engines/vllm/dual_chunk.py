"""Dual chunk attention in V0: what a long prefill needs and the profile run never sees.

The profile runs with empty block tables and takes the ordinary branch, so nothing here is inside the engine's own budget.
Sources: vllm/attention/backends/dual_chunk_flash_attn.py of 0.9.0 to 0.10.2, and the reconstruction in docs/decisions.
"""

from dataclasses import dataclass

from ullage.domain.architecture import FullAttention
from ullage.domain.case import Case
from ullage.domain.ledger import Amount
from ullage.engines.vllm.activation import element_bytes, profile_peak
from ullage.engines.vllm.resolve import activation_dtype
from ullage.engines.vllm.versions import Core, core_of
from ullage.formulas.sharding import ceil_div, kv_heads_per_rank
from ullage.units import format_bytes

# Every step needs larger buffers than the last, so what the last step freed is cached but often too small to be used again.
STALE_TENTHS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """The largest step of a prefill: its unprofiled workspace, what is live around it, and how many steps there are."""

    workspace: Amount
    live_bytes: int
    steps: int
    because: str


def applies(case: Case) -> bool:
    """Whether this release runs the model with dual chunk attention."""
    in_range = (0, 9) <= case.version.parts < (0, 11)
    return case.model.architecture.dual_chunk is not None and core_of(case) is Core.V0 and in_range


def workspace(case: Case) -> Workspace:
    """Workspace of the last step of the longest prompt, per rank.

    Sparse: L x Hq/tp x (4 D + 12 x last queries) bytes in bf16 (8 x in fp16, whose fp32 copy is fused). Dense: one head at a time, 4 D L.
    """
    architecture = case.model.architecture
    mixer = next(m for layer in architecture.layers for m in layer.mixers if isinstance(m, FullAttention) and m.dual_chunk is not None)
    dual = mixer.dual_chunk
    if dual is None:  # pragma: no cover - the generator above asked for it
        raise AssertionError
    element = element_bytes(case)
    heads = ceil_div(mixer.query_heads, case.parallel.tensor)
    kv_heads = kv_heads_per_rank(mixer.kv_heads, case.parallel.tensor)
    length = case.workload.context_tokens or case.settings.integer("max_model_len") or 0
    chunk = min(case.settings.integer("max_num_batched_tokens") or length, length)
    scores = 12 if activation_dtype(case) == "bfloat16" else 8
    sparse = dual.sparse and length > dual.sparse_threshold_tokens
    per_token = heads * (2 * element * mixer.key_dim + scores * dual.sparse_last_queries) if sparse else 2 * element * mixer.key_dim
    largest, previous = per_token * length, per_token * max(length - chunk, 0)
    width = 2 * architecture.hidden_size + (heads + 2 * kv_heads) * mixer.key_dim + 6 * heads * mixer.key_dim
    kind = "sparse" if sparse else "dense"
    terms = f"{heads} query heads x (4 x {mixer.key_dim} + {scores} x {dual.sparse_last_queries}) B" if sparse else f"4 x {mixer.key_dim} B"
    return Workspace(
        workspace=Amount(largest * 95 // 100, largest, largest + previous * STALE_TENTHS // 10),
        live_bytes=chunk * element * width,
        steps=ceil_div(length, max(chunk, 1)),
        because=(
            f"{kind} dual chunk prefill over {length:,} tokens x {terms} = {format_bytes(largest)} in the last of "
            f"{ceil_div(length, max(chunk, 1))} steps; the profile run takes ordinary attention and never sees it"
        ),
    )


def covered_bytes(case: Case, live_bytes: int) -> int:
    """Profiled activation memory that is not in use while a dual chunk step runs, and so is free for its workspace."""
    return max(0, profile_peak(case).amount.expected - live_bytes)
