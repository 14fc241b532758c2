"""One case brought as far as it goes without giving anything up: the settings that are solved for, then changes that cost nothing."""

from ullage.domain.case import Case, Value
from ullage.domain.checkpoint import Role
from ullage.domain.engine import Engine
from ullage.domain.ledger import Phase, Purpose
from ullage.domain.plan import Lever, Plan, Verdict
from ullage.errors import UllageError
from ullage.frozen import replace
from ullage.planning.change import apply_lever
from ullage.planning.fit import Outcome, evaluate
from ullage.planning.search import COMFORTABLE_TOKENS, best_there, key, shortfall_bytes

_TRIED = 4  # values of a free lever
_DEAR = 2  # cost ranks from capacity on
_ON_DEVICES = 0.9  # below this part of the weights some have been moved away
_FAR = 4  # a shortfall of a quarter of all memory is no matter of settings


def settle(engine: Engine, case: Case, objective: str = "context") -> Outcome:
    """The best outcome on the case's layout; what lacks a large part of the memory is left as asked. Raises every error of the engine."""
    within = sum(device.total_bytes for device in case.devices) // _FAR
    best = best_there(engine, case, objective, within_bytes=within)
    if best.verdict is Verdict.FITS or best.limit is None or shortfall_bytes(best) > within:
        return best
    for lever in engine.levers(best.case):
        if lever.cost_rank == 0 and best.limit in lever.relieves and lever.setting != "engine_version":
            best = min([best, *_with_lever(engine, best, lever)], key=lambda outcome: key(outcome, objective))
        if best.verdict is Verdict.FITS or best.limit is None:
            return best
    return best


def _with_lever(engine: Engine, outcome: Outcome, lever: Lever) -> list[Outcome]:
    found = []
    for value in lever.values[:_TRIED]:
        try:
            found.append(evaluate(engine, apply_lever(outcome.asked, lever, value)))
        except UllageError:
            continue
    return found


def changes(before: Case, outcome: Outcome) -> tuple[tuple[str, Value], ...]:
    """The settings that were changed on the way."""
    return tuple(item for item in outcome.asked.settings.items if item not in before.settings.items)


def gives_up(engine: Engine, before: Case, outcome: Outcome) -> bool:
    """Whether a setting was changed on the way that costs more than some speed, or that moved weights off the devices."""
    changed = {name for name, _ in changes(before, outcome)}
    if not changed:
        return False
    tensors = outcome.case.model.checkpoint.tensors
    working = sum(tensor.nbytes for tensor in tensors if tensor.role is not Role.EMBEDDING)  # many engines keep the table on the host
    off_devices = sum(weights_by_device(outcome)) < _ON_DEVICES * working
    return off_devices or any(lever.setting in changed and lever.cost_rank >= _DEAR for lever in engine.levers(outcome.case))


def weights_by_device(outcome: Outcome) -> tuple[int, ...]:
    """Bytes of weights that stay on each accelerator once they are loaded."""
    kinds = (Purpose.WEIGHTS, Phase.RESIDENT)
    return tuple(
        sum(entry.amount.expected for entry in outcome.ledger.on(device.id) if (entry.purpose, entry.phase) == kinds)
        for device in outcome.case.machine.devices
    )


def room_bytes(outcome: Outcome) -> int:
    """What stays free on the fullest accelerator even at the high end."""
    ids = {device.id for device in outcome.case.machine.devices}
    return min((seen.total_bytes - seen.peak.high for seen in outcome.devices if seen.device in ids), default=0)


def reachable(outcome: Outcome) -> int:
    """The longest sequence: what the cache holds, and no more than the model knows or was asked for."""
    held = outcome.capacity.max_context_tokens.expected
    most = outcome.case.model.architecture.max_context_tokens
    return held if most is None else min(held, max(most, outcome.case.workload.context_tokens or 0))


def pinned(case: Case, plan: Plan) -> Case:
    """The question with the length and the layout that the plan found where they were left open."""
    runs = plan.verdict in {Verdict.FITS, Verdict.TIGHT}
    longest = case.model.architecture.max_context_tokens or COMFORTABLE_TOKENS
    found = (plan.case.workload.context_tokens if runs else None) or min(longest, longest if runs else COMFORTABLE_TOKENS)
    return replace(
        case,
        parallel=plan.case.parallel,
        workload=replace(case.workload, context_tokens=case.workload.context_tokens or found),
        stated=case.stated | {"parallel", "context"},
    )


def alternative(engine: Engine, case: Case) -> Outcome | None:
    """The outcome of a case that is one of many; None where the engine has no answer to it."""
    try:
        return settle(engine, case)
    except UllageError:
        return None
