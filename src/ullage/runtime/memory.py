"""Bytes by purpose: what was promised at the start, and what there is now."""

from collections.abc import Mapping

import psutil

from ullage.runtime.engine import Stats


class Memory:
    """``promised`` are bytes by purpose; ``seen`` tells the same purposes, and the process as the kernel counts it."""

    def __init__(self, promised: Mapping[str, int]) -> None:
        self.promised = dict(promised)

    def seen(self, stats: Stats) -> dict[str, int]:
        """Now. The cache's pages count whether a sequence holds them or they are kept for the next."""
        cache = stats.used_bytes + stats.idle_bytes
        return {"weights": stats.weight_bytes, "kv_cache": cache, "swap": stats.swapped_bytes, "process": resident_bytes()}


def resident_bytes() -> int:
    """Of this process, in memory, with the pages of files that it has mapped."""
    return int(psutil.Process().memory_info().rss)
