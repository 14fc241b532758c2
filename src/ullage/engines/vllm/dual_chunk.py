"""Dual chunk attention in V0: what a long prefill needs and the profile run never sees.

The profile runs with empty block tables and takes the ordinary branch, so nothing here is inside the engine's own budget.
Sources: vllm/attention/backends/dual_chunk_flash_attn.py of 0.9.0 to 0.10.2, and the reconstruction in docs/decisions.
"""

from ullage.domain.case import Case
from ullage.engines.vllm.activation import element_bytes, profile_peak
from ullage.engines.vllm.resolve import activation_dtype
from ullage.engines.vllm.versions import Core, core_of
from ullage.formulas.dual_chunk import Workspace, attention_of, prefill_workspace
from ullage.formulas.sharding import ceil_div, kv_heads_per_rank
from ullage.frozen import replace


def applies(case: Case) -> bool:
    """Whether this release runs the model with dual chunk attention."""
    in_range = (0, 9) <= case.version.parts < (0, 11)
    return case.model.architecture.dual_chunk is not None and core_of(case) is Core.V0 and in_range


def workspace(case: Case) -> Workspace:
    """Workspace of the last step of the longest prompt, per rank. Only for models that have it."""
    architecture, tensor = case.model.architecture, case.parallel.tensor
    found = attention_of(architecture)
    length = case.workload.context_tokens or case.settings.integer("max_model_len") or 0
    work = found and prefill_workspace(
        architecture,
        heads=ceil_div(found[0].query_heads, tensor),
        kv_heads=kv_heads_per_rank(found[0].kv_heads, tensor),
        length=length,
        chunk=case.settings.integer("max_num_batched_tokens") or length,
        element=element_bytes(case),
        fused_scores=activation_dtype(case) != "bfloat16",
    )
    if not work:  # pragma: no cover - ``applies`` was asked first
        raise AssertionError
    return replace(work, because=f"{work.because}; the profile run takes ordinary attention and never sees it")


def covered_bytes(case: Case, live_bytes: int) -> int:
    """Profiled activation memory that is not in use while a dual chunk step runs, and so is free for its workspace."""
    return max(0, profile_peak(case).amount.expected - live_bytes)
