"""Whether a change makes up for what was missing, by our plan and by what the log tells of the allocation that failed."""

from typing import Final

from ullage.domain.cause import Cause, Family, Stage
from ullage.domain.ledger import NOTHING, Amount, Purpose
from ullage.domain.machine import HOST
from ullage.domain.plan import Limit, Verdict
from ullage.planning.diagnose_evidence import MAY_BE_FREE
from ullage.planning.diagnose_rows import Asked, shrunk
from ullage.planning.fit import Outcome
from ullage.planning.remedy import cache_gained, freed_bytes, is_reserving, pool_bytes, reserved_bytes

FITS: Final = (Verdict.FITS, Verdict.TIGHT)
SLACK: Final = 1.1  # more than was missing, as the next allocation is not the last
_RUNNING: Final = frozenset({Stage.FIRST_PROMPT, Stage.UNDER_LOAD})
# What is made anew in each step, in few large pieces: where all of it is so much smaller, the piece that failed is.
_OF_STEPS: Final = frozenset({Purpose.LOGITS, Purpose.ACTIVATIONS, Purpose.WORKSPACE})


def asked_after(asked: Asked | None, cause: Cause, before: Outcome, after: Outcome) -> int | None:
    """What the allocation that failed would ask for after a change; None where the change is not known to touch it.

    By the rows it was made of; else by what our plan says of its term, where that holds a piece of such a size.
    """
    if asked is None or cause.family is not Family.DEVICE:
        return None
    if asked.rows:
        return shrunk(asked, after.case)
    if cause.term is None:
        return None
    was, becomes = term_of(before, cause.term), term_of(after, cause.term)
    if was.high < asked.nbytes or becomes.high >= was.high:
        return None
    if not becomes.high:
        return 0
    return asked.nbytes * becomes.high // was.high if cause.term in _OF_STEPS else None


def is_met(asked: Asked | None, nbytes: int | None) -> bool:
    """Whether so much, asked for in place of what failed, is there."""
    return nbytes == 0 or (asked is not None and nbytes is not None and nbytes * SLACK <= (asked.free_bytes or 0))


def verdict_after(cause: Cause, before: Outcome, after: Outcome) -> Verdict:
    """The plan's, less an objection that it had before as well and that the engine, which came further, did not have."""
    said = {objection.why for objection in before.objections}
    if not after.objections or cause.stage in {Stage.START, Stage.UNKNOWN} or any(one.why not in said for one in after.objections):
        return after.verdict
    return max((seen.verdict for seen in after.devices), key=lambda verdict: verdict.rank, default=Verdict.FITS)


def lacking(cause: Cause, outcome: Outcome) -> int | None:
    """What was missing; of a reservation nearly all of it may have been, whichever piece of it failed."""
    if not is_reserving(cause):
        return cause.lacking_bytes
    pool = pool_bytes(outcome)
    return max(cause.lacking_bytes or 0, pool - pool // MAY_BE_FREE)


def is_surely_less(cause: Cause, before: Outcome, after: Outcome, freed: int) -> bool:
    """Whether a step that ran out of host memory takes less even at the high end than it did at the low end.

    What a limit left for it is told by nobody, and the allocation that failed was one of many.
    """
    if cause.family is not Family.HOST or cause.term is None or cause.stage not in _RUNNING:
        return True
    was, becomes = term_of(before, cause.term), term_of(after, cause.term)
    return was.high == 0 or becomes.high <= was.low or freed >= was.high


def is_beside_cards(cause: Cause, outcome: Outcome) -> bool:
    """Whether host memory ran out that no device computes from."""
    return cause.family is Family.HOST and not outcome.case.machine.is_processor


def term_of(outcome: Outcome, purpose: Purpose) -> Amount:
    """What one purpose takes where it takes most."""
    devices = {entry.device for entry in outcome.ledger.entries}
    return max((outcome.ledger.of(device, purpose) for device in devices), key=lambda amount: amount.expected, default=NOTHING)


def relief(cause: Cause, before: Outcome, after: Outcome) -> int:
    """Bytes gained for what failed: more cache or less need of it, less that is reserved, else a lower peak of the device."""
    if is_reserving(cause):
        return max(0, reserved_bytes(before) - reserved_bytes(after))
    if is_beside_cards(cause, before):
        return max(0, before.ledger.peak(HOST).expected - after.ledger.peak(HOST).expected)
    if cause.limit is Limit.CACHE:
        return cache_gained(before, after)
    return max(freed_bytes(before, after), before.peak_bytes - after.peak_bytes, 0)
