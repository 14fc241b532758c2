"""What the guard of ``serve`` knows of requests before they come: from a workload, and from this machine's earlier runs."""

from ullage.commands.serving import Serving
from ullage.commands.verb import Flags
from ullage.domain.admission import CostModel
from ullage.domain.baseline import Run
from ullage.domain.case import Case
from ullage.domain.foresight import Foresight
from ullage.domain.workload import Growth
from ullage.errors import UllageError
from ullage.planning.fit import Outcome
from ullage.planning.foresight import alike, of_runs, of_workload
from ullage.planning.pool import growth_of
from ullage.planning.record import mark_machine, mark_model
from ullage.ports import World

USUAL_AHEAD_S = 30.0
_NONE = "none"
_MOST = 200  # of one engine, the newest


def foresight_of(flags: Flags, world: World, serving: Serving, planned: Outcome, cost: CostModel) -> tuple[Foresight | None, float, str]:
    """What is known, how many seconds are looked ahead by it, and what to say of that."""
    told = flags.whole("ahead")
    if flags.flag("worst_case") or told == 0:
        return None, 0.0, ""
    case = planned.case
    if growth_of(serving.engine, planned.capacity) is not Growth.TOKEN:
        return None, 0.0, "the engine gives a request all its cache at once, so the guard lets in by the worst case"
    runs = _stored(flags, world, serving, case)
    known = of_runs(runs, mark_model(case.model), mark_machine(case), cost)
    if case.workload.lengths is not None:
        known = of_workload(case.workload.lengths, known)
    if known is None:
        how = "by how fast those in flight grow" if told else "by the worst case"
        return None, float(told or 0), f"{_untold(len(runs))}, so the guard lets in {how}"
    ahead_s = float(told or USUAL_AHEAD_S)
    return known, ahead_s, f"the guard lets in by a forecast of the pool, {ahead_s:g} s in detail, from {known.source}"


def _untold(count: int) -> str:
    """Why nothing is foreseen, where so many runs of this model are stored."""
    if not count:
        return "no earlier run of this model is stored here that could say how requests grow"
    runs = "1 earlier run of this model is" if count == 1 else f"{count} earlier runs of this model are"
    return f"{runs} stored here, with too few requests to say how they grow: one run with more is needed"


def _stored(flags: Flags, world: World, serving: Serving, case: Case) -> tuple[Run, ...]:
    word = flags.text("baselines")
    if word == _NONE:
        return ()
    try:
        engine = serving.engine.profile.name
        runs = world.store.read_export(word) if word is not None else world.store.runs(engine=engine, most=_MOST)
    except UllageError:
        return ()
    return alike(tuple(run for run in runs if run.engine == engine), mark_model(case.model), mark_machine(case))
