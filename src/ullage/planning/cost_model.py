"""What a request costs of an engine's cache, by its length: asked of the engine's own arithmetic, kept as steps."""

from ullage.domain.admission import CostModel, Steps
from ullage.domain.case import Case
from ullage.domain.engine import Engine
from ullage.domain.ledger import Ledger, Phase, Purpose
from ullage.domain.plan import Capacity
from ullage.domain.workload import Workload
from ullage.formulas.placement import longest_run
from ullage.frozen import replace

FINENESS = 128  # a step is at most this part of its length longer than the one before


def cost_model(engine: Engine, case: Case, ledger: Ledger) -> CostModel:
    """The costs of one sequence and the pool of a resolved ``case``, per device that holds least, replicas added up.

    Where the engine says what a single sequence of some tokens needs, that is its cost, pages, windows and states as the engine
    counts them. Where its answer does not depend on the length, the cache is one piece, and a sequence takes its tokens of it.
    """
    pool = engine.capacity(case, ledger)
    longest = _longest(engine, case, pool)
    replicas = max(1, case.parallel.data)
    page = max(1, pool.block_tokens)
    nbytes = pool.usable_bytes.expected
    needs = {tokens: needed_bytes(engine, case, ledger, tokens) for tokens in (min(page, longest), longest) if tokens}
    own = len(set(needs.values())) > 1 and all(needs.values())
    steps = _asked(engine, case, ledger, longest, page) if own else _shared(pool, longest, page)
    short = engine.capacity(holding(_as_started(engine, case), min(page, max(1, longest))), ledger)
    return CostModel(
        pool_bytes=nbytes * replicas,
        steps=steps,
        longest_tokens=longest,
        most_sequences=max(1, short.max_sequences.expected),
        longest_prompt_tokens=_longest_prompt(engine, case, longest),
        item_tokens=case.model.architecture.encoder_tokens,
    )


def _as_started(engine: Engine, case: Case) -> Case:
    """With all that its command states: what a plan may leave open, such as how many run at once, a running engine does not."""
    command = engine.command(case)
    said = engine.read_command(command.argv, dict(command.environment), case.version)
    return case if said is None else replace(case, stated=case.stated | said.stated)


def _longest(engine: Engine, case: Case, pool: Capacity) -> int:
    """What the pool holds or a sequence was stated to be, whichever is less; where nobody stated it, as the engine or the model has it."""
    name = engine.profile.length_setting
    told = case.settings.integer(name) if name else None
    if "context" in case.stated and name not in case.stated:
        told = case.workload.context_tokens
    bounds = (pool.max_context_tokens.expected, told or case.model.architecture.max_context_tokens)
    return max(0, min(bound for bound in bounds if bound is not None))


def holding(case: Case, tokens: int) -> Case:
    """The case with one sequence of so many tokens."""
    return replace(case, workload=Workload(context_tokens=tokens, concurrent_sequences=1))


def needed_bytes(engine: Engine, case: Case, ledger: Ledger, tokens: int) -> int:
    """Cache bytes of one sequence, as the engine sizes it."""
    return engine.capacity(holding(case, tokens), ledger).needed_bytes


def lengths(longest: int, page: int) -> tuple[int, ...]:
    """Page ends up to ``longest``, further apart by powers of two the longer they are."""
    found, at = [], 0
    while at < longest:
        pages = at // page // FINENESS
        at = min(longest, at + page * (1 << max(0, pages.bit_length() - 1)))
        found.append(at)
    return tuple(found)


def _asked(engine: Engine, case: Case, ledger: Ledger, longest: int, page: int) -> Steps:
    return tuple((tokens, needed_bytes(engine, case, ledger, tokens)) for tokens in lengths(longest, page))


def _shared(pool: Capacity, longest: int, page: int) -> Steps:
    """A cache of one piece: whole pages of it, in bytes rounded up."""
    nbytes, tokens = pool.usable_bytes.expected, max(1, pool.kv_tokens.expected)
    return tuple((at, min(nbytes, -(-nbytes * (-(-at // page) * page) // tokens))) for at in lengths(longest, page))


def _longest_prompt(engine: Engine, case: Case, longest: int) -> int | None:
    """The longest prompt whose workspace outside the engine's own budget fits every device; None where all do or none does."""

    def fits(tokens: int) -> bool:
        seen = engine.ledger(holding(case, tokens))
        return all(seen.at(device.id, Phase.PREFILL).expected <= device.total_bytes for device in case.devices)

    if not longest or not _is_unforeseen(case, engine.ledger(holding(case, longest))) or fits(longest) or not fits(1):
        return None
    return longest_run(1, longest, fits)


def _is_unforeseen(case: Case, ledger: Ledger) -> bool:
    devices = {device.id for device in case.devices}
    return any(
        entry.purpose is Purpose.WORKSPACE and entry.phase is Phase.PREFILL and not entry.budgeted and entry.device in devices
        for entry in ledger.entries
    )
