"""The cache of a plan as requests meet it: its bytes, its places, and what a sequence of any length takes of it."""

from bisect import bisect_left
from collections.abc import Callable
from itertools import pairwise

from ullage.domain.engine import Engine
from ullage.domain.plan import Capacity, Plan
from ullage.domain.workload import Growth
from ullage.planning.cost_model import holding, needed_bytes
from ullage.planning.simulate import Pool

_STEPS_AN_OCTAVE = 4  # lengths at which the engine is asked; between two its answer grows evenly, save for rounding to pages


def pool_of(engine: Engine, plan: Plan, longest_tokens: int) -> Pool | None:
    """The pool of one replica, for sequences of at most ``longest_tokens``; None where the plan has no cache."""
    capacity, case = plan.capacity, plan.case
    if capacity is None or capacity.usable_bytes.expected <= 0 or capacity.kv_tokens.expected <= 0:
        return None
    page, nbytes = max(1, capacity.block_tokens), capacity.usable_bytes.expected
    replicas = max(1, case.parallel.data)
    slots = max(1, engine.capacity(holding(case, page), plan.ledger).max_sequences.expected // replicas)
    growth = growth_of(engine, capacity)
    if growth is Growth.SLOT:
        longest, each = capacity.max_context_tokens.expected, nbytes // slots
        return Pool(each * slots, page, slots, growth, lambda tokens: each if tokens <= longest else nbytes + 1)
    demand = _demand(engine, plan, page, longest_tokens)
    if demand is None:
        tokens = capacity.kv_tokens.expected
        demand = lambda wanted: -(-(-(-wanted // page) * page * nbytes) // tokens)  # noqa: E731 - one of two ways to say it
    return Pool(nbytes, page, slots, growth, demand)


def growth_of(engine: Engine, capacity: Capacity) -> Growth:
    """When a sequence gets its cache: as tokens come too where an engine that has places otherwise keeps a pool of pages."""
    is_paged = engine.profile.growth is Growth.SLOT and capacity.block_tokens > 1
    return Growth.TOKEN if is_paged else engine.profile.growth


def _demand(engine: Engine, plan: Plan, page: int, longest_tokens: int) -> Callable[[int], int] | None:
    """What the engine's own sizing says of a few lengths, and evenly between them; None where it does not grow with the length."""
    lengths, at = [page], page
    while at < longest_tokens + page:
        at = max(at + page, -(-int(at * 2 ** (1 / _STEPS_AN_OCTAVE)) // page) * page)
        lengths.append(at)
    sizes = [needed_bytes(engine, plan.case, plan.ledger, tokens) for tokens in lengths]
    if sizes[0] <= 0 or sizes[-1] <= sizes[0] or any(later < size for size, later in pairwise(sizes)):
        return None

    def demand(tokens: int) -> int:
        whole = -(-tokens // page) * page
        at = bisect_left(lengths, whole)
        if at >= len(lengths):
            return -(-sizes[-1] * whole // lengths[-1])
        if lengths[at] == whole or at == 0:
            return sizes[at]
        low, high = lengths[at - 1], lengths[at]
        return sizes[at - 1] - (-(sizes[at] - sizes[at - 1]) * (whole - low) // (high - low))

    return demand
