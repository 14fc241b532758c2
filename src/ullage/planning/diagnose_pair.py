"""Two changes at once, where no single one is enough; and the share of a device that is not free."""

from collections.abc import Iterator

from ullage.domain.case import Case, Value
from ullage.domain.cause import Cause, Change, Family, Kind
from ullage.domain.engine import Engine
from ullage.domain.plan import Verdict
from ullage.errors import UllageError
from ullage.frozen import replace
from ullage.planning.change import apply_change, shown
from ullage.planning.diagnose_enough import FITS, relief, verdict_after
from ullage.planning.diagnose_facts import Figures, card_of
from ullage.planning.diagnose_others import others_of
from ullage.planning.fit import Outcome, evaluate
from ullage.planning.remedy import planned, remedies
from ullage.units import format_bytes

_STEPS, _TRIED = 20, 3


def with_others(case: Case, cause: Cause | None, figures: Figures) -> Case:
    """The case beside the processes that hold what was not free, as an error lists them, or as a check at the start finds."""
    total, free, listed = figures.total_bytes, figures.free_bytes, others_of(figures)
    is_told = listed is not None or (cause is not None and cause.kind is Kind.DEVICE_NOT_FREE)
    if not is_told or not total or free is None or not 0 < free < total:
        return case
    held = listed if listed is not None else total - free
    ids = {device.id for device in case.machine.devices}
    named = {card_of(figures.device)} & ids or ids
    devices = tuple(
        replace(device, reserved_bytes=min(held, device.total_bytes)) if device.id in named else device for device in case.machine.devices
    )
    return replace(case, machine=replace(case.machine, devices=devices))


def of_share(setting: str, cost: str, figures: Figures, engine: Engine, outcome: Outcome) -> Change | None:
    """The largest share of a device that starts beside what others hold; with a second change where its cache is too small."""
    total, free = figures.total_bytes, figures.free_bytes
    now = outcome.case.settings.number(setting)
    if not total or free is None or now is None:
        return None
    largest = int(100 * free / total)
    seen = list(
        _shares(setting, [share / 100 for share in range(largest, max(0, largest - _STEPS), -1) if share / 100 < now], engine, outcome)
    )
    for value, after in seen:
        if after.verdict in FITS:
            return _change(((setting, value),), cost, outcome, after)
    for value, after in seen:
        others = (remedy for remedy in remedies(engine, after) if all(name != setting for name, _ in remedy.changes))
        if (second := next(others, None)) is not None:
            both = ((setting, value), *second.changes)
            made = _change(both, f"{cost}; {second.cost}", outcome, evaluate(engine, second.case))
            return replace(made, says=f"{made.says}; no share above {largest / 100} starts")
    if not seen:
        return None
    value, after = seen[0]
    return Change(
        setting=setting,
        value=value,
        up=False,
        cost=cost,
        says=f"{setting} = {value}: {format_bytes(free)} are free; not enough alone: {after.binding}",
        verdict=Verdict.DOES_NOT_FIT,
        frees_bytes=0,
    )


def _shares(setting: str, values: list[float], engine: Engine, outcome: Outcome) -> Iterator[tuple[float, Outcome]]:
    for value in values:
        try:
            yield value, evaluate(engine, apply_change(outcome.asked, setting, value))
        except UllageError:
            continue


def pair(cause: Cause, engine: Engine, outcome: Outcome) -> Change | None:
    """The cheapest two changes that are enough together, each of which relieves what failed or what then binds."""
    if cause.family is not Family.DEVICE and cause.family is not Family.CACHE:
        return None
    found: list[tuple[int, Change]] = []
    for lever in [lever for lever in engine.levers(outcome.case) if cause.limit in lever.relieves]:
        for value, first in planned(engine, outcome, lever, last=_TRIED):
            for second in remedies(engine, first):
                if any(name == lever.setting for name, _ in second.changes):
                    continue
                after = evaluate(engine, second.case)
                is_enough = verdict_after(cause, outcome, after) in FITS and relief(cause, outcome, after) >= (cause.lacking_bytes or 0)
                if is_enough:
                    both = ((lever.setting, value), *second.changes)
                    found.append((lever.cost_rank, _change(both, f"{lever.cost}; {second.cost}", outcome, after)))
                    break
    return min(found, key=lambda ranked: ranked[0])[1] if found else None


def _change(made: tuple[tuple[str, Value], ...], cost: str, before: Outcome, after: Outcome) -> Change:
    (setting, value), *also = made
    words = " and ".join(f"{name} = {shown(each)}" for name, each in made)
    tail = "then it fits" if after.verdict is Verdict.FITS else "then it is tight"
    return Change(
        setting=setting,
        value=value,
        up=False,
        cost=cost,
        says=f"{words}: {tail}",
        verdict=after.verdict,
        frees_bytes=max(0, before.peak_bytes - after.peak_bytes),
        also=tuple(also),
    )
