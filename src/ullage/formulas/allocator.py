"""What PyTorch's CUDA caching allocator counts as allocated for tensors of given sizes: blocks, not bytes asked for.

The rules stand in ``c10/cuda/CUDACachingAllocator.cpp`` of PyTorch 2.x and did not change between 1.13 and 2.13.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable

from ullage.units import KiB, MiB

STEP = 512  # every request is rounded up to this
SMALL = 1 * MiB  # requests up to here live in a pool of their own and are cut exactly
LARGE_SEGMENT = 20 * MiB  # what is taken from the driver for a request above SMALL and below OWN_SEGMENT
OWN_SEGMENT = 10 * MiB  # from here a request gets a segment of its own size
SEGMENT_STEP = 2 * MiB  # in these steps

AMPERE_WORKSPACE = (2 * 4096 + 8 * 16) * KiB  # cuBLAS, one handle and stream, up to compute capability 8.9
HOPPER_WORKSPACE = 4096 * 8 * KiB  # from 9.0


def rounded(nbytes: int) -> int:
    """One request in whole steps."""
    return -(-nbytes // STEP) * STEP


def allocated_bytes(requests: Iterable[tuple[int, int]]) -> int:
    """Bytes counted as allocated after ``(nbytes, count)`` requests, in order, on an empty pool, none given back.

    A block is cut only if more than SMALL is left over, so a tensor of 43 MiB in a segment of 44 MiB counts as 44.
    """
    free: list[int] = []
    taken = 0
    for nbytes, count in requests:
        size = rounded(nbytes)
        if size <= SMALL:
            taken += size * count
            continue
        for _ in range(count):
            taken += _take(size, free)
    return taken


def _take(size: int, free: list[int]) -> int:
    """The bytes of the block a request gets: the smallest free one that holds it, else a new segment."""
    index = bisect_left(free, size)
    block = free.pop(index) if index < len(free) else _segment(size)
    rest = block - size
    if rest <= SMALL:
        return block
    insort(free, rest)
    return size


def _segment(size: int) -> int:
    return LARGE_SEGMENT if size < OWN_SEGMENT else -(-size // SEGMENT_STEP) * SEGMENT_STEP


def pooled_bytes(requests: Iterable[tuple[int, int]]) -> int:
    """The same where one block for all of them was taken and given back first: cut exactly."""
    return sum(rounded(nbytes) * count for nbytes, count in requests)


def cublas_workspace(compute_capability: tuple[int, int] | None) -> int:
    """The workspace that the first matrix product takes from the pool; an unknown card counts as one before Hopper."""
    return HOPPER_WORKSPACE if compute_capability is not None and compute_capability >= (9, 0) else AMPERE_WORKSPACE
