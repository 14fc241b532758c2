"""How many sequences may run at once, by the state of memory: fewer by a quarter under pressure, one step more when all is easy."""

from ullage.domain.admission import DeviceReading, Limits, PoolReading, State
from ullage.domain.plan import DeviceVerdict
from ullage.frozen import replace

STEPS = 16  # growing from nothing to everything takes this many quiet readings at least

_OF_FREE, _OF_DEVICE = 4, 50


def least_free_bytes(devices: tuple[DeviceVerdict, ...]) -> int:
    """What is to stay free on the fullest of an engine's devices: a quarter of what its plan leaves in the worst case, and at most 2 %.

    So an engine that keeps its plan never falls below it, and where the plan leaves nothing, nothing is asked.
    """
    left = (min((seen.total_bytes - seen.peak.high) // _OF_FREE, seen.total_bytes // _OF_DEVICE) for seen in devices)
    return max(0, min(left, default=0))


def after_pool_reading(state: State, seen: PoolReading) -> State:
    """Preemptions, or a full pool with requests waiting inside, let fewer run; a pool with room and nobody waiting lets more run."""
    limits, before = state.limits, state.preemptions
    preempted = seen.preemptions is not None and before is not None and seen.preemptions > before
    usage = seen.usage if seen.usage is not None else 0.0
    full = usage >= limits.full_fraction and (seen.waiting or 0) > 0
    state = replace(state, preemptions=before if seen.preemptions is None else seen.preemptions)
    if preempted or full:
        return _fewer(state, seen.at)
    easy = usage <= limits.easy_fraction and not seen.waiting and not state.device_short
    return _more(state, seen.at) if easy else state


def after_device_reading(state: State, seen: DeviceReading) -> State:
    """A device with less free than the least lets fewer run, and none more until it has recovered."""
    short = seen.free_bytes < state.limits.least_free_bytes
    state = replace(state, device_short=short)
    return _fewer(state, seen.at) if short else state


def restarted(state: State) -> State:
    """A fresh engine counts its preemptions from nought."""
    return replace(state, preemptions=None, device_short=False, allowed=min(state.allowed, state.cost.most_sequences))


def _settling(limits: Limits, state: State, at: float) -> bool:
    return at - state.changed_at < limits.settle_s


def _fewer(state: State, at: float) -> State:
    """Three quarters of what runs: what is allowed beyond that had no part in the pressure."""
    if _settling(state.limits, state, at):
        return state
    running = min(state.allowed, max(1, state.sequences))
    return replace(state, allowed=max(1, running * 3 // 4), changed_at=at)


def _more(state: State, at: float) -> State:
    most = state.cost.most_sequences
    if state.allowed >= most or _settling(state.limits, state, at):
        return state
    return replace(state, allowed=min(most, state.allowed + max(1, most // STEPS)))
