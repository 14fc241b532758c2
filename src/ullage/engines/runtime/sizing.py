"""How the runtime divides its memory when nobody says: the plan asks here, and so does the runtime itself."""

from ullage.domain.architecture import Architecture
from ullage.engines.runtime.transient import Rows, kernel_scratch, peak

SHARE = (9, 10)  # of the memory that is free, unless said
MAX_SEQUENCES = 16
PAGE_TOKENS = 256
FALLBACK_TOKENS = 4096  # of a model whose configuration sets no length
CPU = "cpu"
_CHUNKS = (8192, 4096, 2048, 1024, 512, 256, 128, 64)
LARGEST_CPU_CHUNK = 1024  # rows that multiply as fast as more do on processors; more only make others wait
_STEP_SHARE = 8  # a step takes at most one part in so many of what weights leave


def default_memory(free_bytes: int) -> int:
    """Bytes the process may take of those that are free."""
    return free_bytes * SHARE[0] // SHARE[1]


def default_dtype(own: str, device: str) -> str:
    """What is computed in: the model's own, but no float16 on processors, which have no fast one."""
    return "bfloat16" if own not in {"float32", "float16"} or (own == "float16" and device == CPU) else own


def step_bytes(architecture: Architecture, step: Rows, device: str, *, head: bool = True) -> int:
    """What one step takes beside weights and cache, with what the kernel of attention copies for itself."""
    scratch = kernel_scratch(architecture, rows=step.rows, context=step.context, element=step.element) if device == CPU else 0
    return peak(architecture, step, head=head).nbytes + scratch


def choose_chunk(architecture: Architecture, *, context: int, sequences: int, element: int, left_bytes: int, device: str) -> int:
    """Rows of one step: the most that take an eighth of what weights leave; the fewest there are where none does."""
    tried = [chunk for chunk in _CHUNKS if device != CPU or chunk <= LARGEST_CPU_CHUNK]
    for chunk in tried:
        step = Rows(rows=chunk, context=context, wanting=min(sequences, chunk), element=element)
        if step_bytes(architecture, step, device) * _STEP_SHARE <= left_bytes:
            return chunk
    return tried[-1]
