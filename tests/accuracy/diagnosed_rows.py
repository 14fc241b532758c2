"""What is said of a log against what its thread says: the class of failure, the term that overflowed, and the fix."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from tests.accuracy.logs_of_rows import failing, written
from tests.accuracy.rows import Row

from ullage.commands.diagnose import VERB, make_diagnosis
from ullage.domain.cause import Change, Diagnosis, Family
from ullage.domain.ledger import Purpose
from ullage.world import real

_CACHE = frozenset({Purpose.KV_CACHE})
_STEP = frozenset({Purpose.ACTIVATIONS, Purpose.WORKSPACE, Purpose.LOGITS})
CLASSES: dict[str, Family] = {
    "refused_no_kv": Family.CACHE,
    "refused_kv_too_small": Family.CACHE,
    "refused_free_memory": Family.OTHERS,
    "oom_host": Family.HOST,
    "oom_alloc_4gb_limit": Family.ONE_BLOCK,
}
# Kinds that name the term; of a start that failed without more, the report does not.
TERMS: dict[str, frozenset[Purpose]] = {
    "refused_no_kv": _CACHE,
    "refused_kv_too_small": _CACHE,
    "refused_free_memory": frozenset({Purpose.OTHERS}),
    "oom_weights": frozenset({Purpose.WEIGHTS}),
    "oom_load": frozenset({Purpose.WEIGHTS, Purpose.KV_CACHE}),
    "oom_sampler_warmup": frozenset({Purpose.LOGITS}),
    "oom_graph_capture": frozenset({Purpose.GRAPHS}),
    "oom_after_kv": _CACHE | {Purpose.GRAPHS},
    "oom_compute_buffer": frozenset({Purpose.ACTIVATIONS}),
    "oom_activation": _STEP,
    "oom_runtime": _STEP,
    "oom_runtime_sampler": _STEP,
    "vram_spill": frozenset({Purpose.WEIGHTS, Purpose.KV_CACHE}),
}
_LENGTH = r"max.model.len|context|sequence length|\blength\b|num_ctx|n_ctx|\b-l \d|cache_lens|8k"
# What a fix in a thread's words changes, in our or the engine's settings.
_FIXES: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (pattern, frozenset(settings.split()))
    for pattern, settings in (
        (r"util|mem-fraction|-> 0\.\d", "gpu_memory_utilization mem_fraction_static"),
        (_LENGTH, "max_model_len context_length ctx_size context max_seq_len cache_size cache_lens length"),
        (r"max.num.seqs", "max_num_seqs max_running_requests"),
        (r"enforce.eager", "enforce_eager disable_cuda_graph"),
        (r"\btp ?= ?\d|tensor", "tensor_parallel_size tp_size tensor"),
        (r"awq|gptq|int4|int8|4.?bit|quanti", "quantization load_in_low_bit bits"),
        (r"q4 cache|-cq4", "cache_mode"),
        (r"cpu_moe_offload", "cpu_moe_offload_layers"),
        (r"-ngl|layer less|layers to cpu", "n_gpu_layers n_cpu_moe"),
        (r"n_ubatch", "ubatch_size"),
        (r"ESTIMATE_CUDAGRAPHS", "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS"),
        (r"numactl", "numactl"),
        (r"more host memory", "host"),
        (r"other process", "other"),
        (r"multi-gpu", "transfer_map"),
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One report and what was said of it. ``None`` where the report does not tell."""

    row: Row
    found: Diagnosis
    is_class_right: bool
    is_term_right: bool | None
    is_fix_among_three: bool | None


def class_of(kind: str) -> Family:
    """The class that a kind of report means."""
    return CLASSES.get(kind, Family.DEVICE)


def diagnosed(text: str, engine: str | None = None) -> Diagnosis:
    """A log's diagnosis, offline."""
    return make_diagnosis(VERB.flags({"engine": engine, "offline": True}), iter(text.splitlines(keepends=True)), real.world(offline=True))


def judge(row: Row, text: str) -> Judged:
    """One report judged by its log."""
    found, kind = diagnosed(text), row.text("error_kind")
    first = found.causes[0] if found.causes else None
    terms = TERMS.get(kind)
    wanted = fix_of(row)
    return Judged(
        row=row,
        found=found,
        is_class_right=first is not None and first.family is class_of(kind),
        is_term_right=None if terms is None else first is not None and first.term in terms,
        is_fix_among_three=None if not wanted else any(_is(change, wanted) for change in found.changes[:3]),
    )


def fix_of(row: Row) -> frozenset[str]:
    """The settings that a thread's fix changes; none where it names none, or another program."""
    fix = row.text("fix")
    return frozenset().union(*(settings for pattern, settings in _FIXES if re.search(pattern, fix, re.IGNORECASE)))


def _is(change: Change, wanted: frozenset[str]) -> bool:
    return bool({change.setting, *change.setting.split(" ")} & wanted)


@cache
def judged_wholes() -> tuple[Judged, ...]:
    """Every failing report by its whole log."""
    return tuple(judge(row, written(row).whole) for row in failing())


@cache
def judged_fragments() -> tuple[Judged, ...]:
    """Every failing report by the words its thread quotes, and nothing else."""
    return tuple(judge(row, written(row).fragment) for row in failing())


def share(answers: Iterable[bool | None]) -> tuple[int, int]:
    """How many are right, of how many that can be told."""
    told = [answer for answer in answers if answer is not None]
    return sum(told), len(told)
