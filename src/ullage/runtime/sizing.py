"""What the runtime may take: dtype, length, rows of a step, and the cache that memory leaves, by the formulas of the plan."""

from ullage.domain.architecture import Architecture
from ullage.engines.runtime.pages import Form
from ullage.engines.runtime.sizing import CPU, FALLBACK_TOKENS, choose_chunk, default_dtype, default_memory, step_bytes
from ullage.engines.runtime.transient import Rows
from ullage.errors import InputError
from ullage.frozen import dataclass
from ullage.runtime.options import Options
from ullage.units import format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """Sizes in bytes and tokens; ``step_bytes`` is the widest moment of the widest step."""

    cache_bytes: int
    chunk_tokens: int
    max_len: int
    step_bytes: int
    budgets: tuple[int, ...] = ()  # of the cache on each device


def dtype_word(asked: str, own: str, *, device: str) -> str:
    """What is computed in; ``own`` is the model's dtype. Raises InputError for float16 on a processor, which has no fast one."""
    if asked == "auto":
        return default_dtype(own, device)
    if asked == "float16" and device == CPU:
        raise InputError("--dtype float16 is for GPUs; on a processor write --dtype bfloat16")
    return asked


def size(
    options: Options,
    architecture: Architecture,
    form: Form,
    *,
    element: int,
    free_bytes: int,
    taken_bytes: int,
    device: str,
    head: bool = True,
) -> Sized:
    """The sizes of a model whose weights are loaded.

    ``free_bytes`` are free on the device now, ``taken_bytes`` are what the process takes there already; ``head``:
    logits are made there. Raises InputError with numbers.
    """
    max_len = options.max_len or architecture.max_context_tokens or FALLBACK_TOKENS
    memory = options.memory_bytes or default_memory(free_bytes + taken_bytes)
    left, sequences = memory - taken_bytes, options.max_sequences
    chunk = options.chunk_tokens or choose_chunk(
        architecture, context=max_len, sequences=sequences, element=element, left_bytes=left, device=device
    )
    step = step_bytes(architecture, Rows(rows=chunk, context=max_len, wanting=min(sequences, chunk), element=element), device, head=head)
    wanted = sequences * form.peak_bytes(max_len, chunk)
    cache = options.cache_bytes if options.cache_bytes is not None else min(wanted, left - step)
    least = form.peak_bytes(1, 1)
    if cache < least:
        raise InputError(
            f"{format_bytes(max(0, cache))} are left for the cache and one page takes {format_bytes(least)}: "
            f"weights and the process take {format_bytes(taken_bytes)} of {format_bytes(memory)}, a step {format_bytes(step)}; "
            "give more --memory, or a smaller --chunk"
        )
    return Sized(cache_bytes=cache, chunk_tokens=chunk, max_len=max_len, step_bytes=step)
