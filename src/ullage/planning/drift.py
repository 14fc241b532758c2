"""What was seen against what was promised: within the bounds, or by how much outside them."""

from enum import StrEnum

from ullage.domain.ledger import Amount
from ullage.frozen import dataclass
from ullage.units import MiB

# Drivers hand out and report memory in pages of 2 MiB (CUDA, HIP, large pages of a host): a smaller difference shows nothing.
RESOLUTION_BYTES = 2 * MiB


class Standing(StrEnum):
    """Where a reading lies against a promise."""

    WITHIN = "within"
    ABOVE = "above"
    BELOW = "below"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One reading against its promise. ``beyond_bytes`` is how far outside the bounds it lies, 0 within them."""

    standing: Standing
    promised: Amount
    seen_bytes: int
    beyond_bytes: int

    @property
    def off_bytes(self) -> int:
        """Seen less expected: more than was thought is positive."""
        return self.seen_bytes - self.promised.expected


def judge_drift(promised: Amount, seen_bytes: int, *, resolution_bytes: int = RESOLUTION_BYTES) -> Drift:
    """Whether a reading keeps the promise. What passes a bound by less than the reading can resolve is within."""
    standing, beyond = Standing.WITHIN, 0
    if seen_bytes > promised.high + resolution_bytes:
        standing, beyond = Standing.ABOVE, seen_bytes - promised.high
    elif seen_bytes < promised.low - resolution_bytes:
        standing, beyond = Standing.BELOW, promised.low - seen_bytes
    return Drift(standing=standing, promised=promised, seen_bytes=seen_bytes, beyond_bytes=beyond)
