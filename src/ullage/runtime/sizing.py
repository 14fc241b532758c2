"""What the runtime may take: dtype, length, rows of a step, and the cache that memory leaves, by the formulas of the plan."""

from collections.abc import Mapping

from ullage.domain.architecture import Architecture
from ullage.domain.hyperparameters import Json
from ullage.engines.runtime.pages import Form
from ullage.engines.runtime.transient import Rows, peak
from ullage.errors import InputError
from ullage.frozen import dataclass
from ullage.runtime.options import Options
from ullage.units import format_bytes

_SHARE = (9, 10)  # of the memory that is free, unless said
_CHUNKS = (8192, 4096, 2048, 1024, 512, 256, 128)
_CPU_CHUNK = 1024  # rows of a step that multiply as fast as more do on processors; more only make others wait
_TRANSIENT_SHARE = 8  # a step takes at most one part in so many of what weights leave


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """Sizes in bytes and tokens; ``transient_bytes`` is the widest moment of the widest step."""

    cache_bytes: int
    chunk_tokens: int
    max_len: int
    transient_bytes: int


def dtype_word(asked: str, config: Mapping[str, Json], *, device: str) -> str:
    """What is computed in. Raises InputError for float16 on a processor, which has no fast one."""
    if asked == "auto":
        own = str(config.get("torch_dtype") or config.get("dtype") or "bfloat16")
        return "bfloat16" if own not in ("float32", "float16") or (own == "float16" and device == "cpu") else own
    if asked == "float16" and device == "cpu":
        raise InputError("--dtype float16 is for GPUs; on a processor write --dtype bfloat16")
    return asked


def size(
    options: Options, architecture: Architecture, form: Form, *, element: int, free_bytes: int, taken_bytes: int, is_cpu: bool
) -> Sized:
    """The sizes of a model whose weights are loaded.

    ``free_bytes`` are free on the device now, ``taken_bytes`` are what the process takes there already. Raises InputError with numbers.
    """
    most = architecture.max_context_tokens
    max_len = options.max_len or most or form.page_tokens
    memory = options.memory_bytes or (free_bytes + taken_bytes) * _SHARE[0] // _SHARE[1]
    left = memory - taken_bytes
    chunk, transient = _chunk(options, architecture, max_len, element, left, is_cpu=is_cpu)
    wanted = options.max_sequences * form.peak_bytes(max_len, chunk)
    cache = options.cache_bytes if options.cache_bytes is not None else min(wanted, left - transient)
    least = form.peak_bytes(1, 1)
    if cache < least:
        raise InputError(
            f"{format_bytes(max(0, cache))} are left for the cache and one page takes {format_bytes(least)}: "
            f"weights and the process take {format_bytes(taken_bytes)} of {format_bytes(memory)}, a step {format_bytes(transient)}; "
            "give more --memory, or a smaller --chunk"
        )
    return Sized(cache_bytes=cache, chunk_tokens=chunk, max_len=max_len, transient_bytes=transient)


def _chunk(options: Options, architecture: Architecture, max_len: int, element: int, left: int, *, is_cpu: bool) -> tuple[int, int]:
    def transient(chunk: int) -> int:
        rows = Rows(rows=chunk, context=max_len, wanting=min(options.max_sequences, chunk), element=element)
        return peak(architecture, rows).nbytes

    if options.chunk_tokens is not None:
        return options.chunk_tokens, transient(options.chunk_tokens)
    tried = [chunk for chunk in _CHUNKS if not is_cpu or chunk <= _CPU_CHUNK]
    chunk = next((chunk for chunk in tried if transient(chunk) * _TRANSIENT_SHARE <= left), tried[-1])
    return chunk, transient(chunk)
