"""The environment variables of vLLM that change memory or attention, and the releases that read them."""

from collections.abc import Mapping

from ullage.domain.case import Value
from ullage.domain.plan import Finding
from ullage.engines.vllm.flags_kinds import Release, release
from ullage.engines.vllm.option_findings import remark, written
from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable: the first and last release that read it, and what to use where it is gone."""

    name: str
    first: str
    last: str = ""
    instead: str = ""

    def is_in(self, at: Release) -> bool:
        """Whether a release reads it."""
        return at >= release(self.first) and (not self.last or at <= release(self.last))


VARIABLES = (
    Variable("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "0.5.4"),
    Variable("VLLM_ALLREDUCE_USE_SYMM_MEM", "0.10.2"),
    Variable("VLLM_ATTENTION_BACKEND", "0.4.2", "0.14.1", "use --attention-backend"),
    Variable("VLLM_CPU_KVCACHE_SPACE", "0.4.2"),
    Variable("VLLM_CPU_OMP_THREADS_BIND", "0.5.4"),
    Variable("VLLM_ENABLE_STARTUP_PLAN", "0.26.0"),
    Variable("VLLM_FLASHINFER_WORKSPACE_BUFFER_SIZE", "0.11.1"),
    Variable("VLLM_FUSED_MOE_CHUNK_SIZE", "0.5.1", "0.17.1"),
    Variable("VLLM_KV_CACHE_LAYOUT", "0.9.2"),
    Variable("VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS", "0.18.0"),
    Variable("VLLM_MLA_DISABLE", "0.7.1"),
    Variable("VLLM_PP_LAYER_PARTITION", "0.5.4"),
    Variable("VLLM_SERVER_DEV_MODE", "0.7.0"),
    Variable("VLLM_USE_V1", "0.6.4", "0.11.0", "there is one engine only"),
    Variable("VLLM_USE_V2_MODEL_RUNNER", "0.12.0"),
)
_OTHERS = frozenset(
    {
        "CUDA_VISIBLE_DEVICES",
        "HIP_VISIBLE_DEVICES",
        "LD_PRELOAD",
        "MALLOC_MMAP_THRESHOLD_",
        "MALLOC_TRIM_THRESHOLD_",
        "PYTORCH_ALLOC_CONF",
        "PYTORCH_CUDA_ALLOC_CONF",
        "ROCR_VISIBLE_DEVICES",
        "ZE_AFFINITY_MASK",
    }
)


def relevant(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of a process environment that can change memory."""
    return {name: value for name, value in environment.items() if name.startswith("VLLM_") or name in _OTHERS}


def environment_findings(environment: Mapping[str, str], settings: Mapping[str, Value], at: Release) -> tuple[Finding, ...]:
    """Variables that a release does not read, and pairs that do not go together."""
    found = [
        remark(f"vLLM {written(at)} does not read {item.name} ({_span(item)}){'; ' + item.instead if item.instead else ''}")
        for item in VARIABLES
        if item.name in environment and not item.is_in(at)
    ]
    allocator = environment.get("PYTORCH_CUDA_ALLOC_CONF", "") + environment.get("PYTORCH_ALLOC_CONF", "")
    if "expandable_segments:true" in allocator.lower() and settings.get("enable_sleep_mode") is True:
        found.append(Finding(text="expandable_segments:True does not work with --enable-sleep-mode; leave one of them out"))
    return tuple(found)


def _span(item: Variable) -> str:
    return f"{item.first} to {item.last} read it" if item.last else f"it came with {item.first}"
