"""Which cards, and how many of them, hold what was asked."""

from collections.abc import Iterable, Iterator

from ullage.catalog.devices import DeviceModel
from ullage.domain.advice import CardChoice, HardwareAdvice
from ullage.domain.case import Case
from ullage.domain.engine import Engine
from ullage.domain.placement import Parallel
from ullage.domain.plan import Limit, Plan, Verdict
from ullage.errors import UllageError
from ullage.frozen import replace
from ullage.planning.fit import Outcome
from ullage.planning.settle import alternative, changes, gives_up, pinned, reachable, room_bytes

COUNTS = (1, 2, 4, 8, 16)
_FAILURES = 2
_UNIFIED = frozenset({"mps", "cpu"})  # one to a machine

Alike = tuple[DeviceModel, ...]


def advise_hardware(engine: Engine, asked: Case, plan: Plan, cards: Iterable[DeviceModel]) -> HardwareAdvice:
    """The smallest count of each card that fits at the plan's length, by total memory on the label."""
    case = pinned(asked, plan)
    groups = _alike(card for card in cards if card.kind in engine.profile.device_kinds)
    found: dict[Alike, CardChoice] = {}
    for count in COUNTS:
        left = [group for group in groups if group not in found and (count == 1 or group[0].kind not in _UNIFIED)]
        found.update(_with_count(engine, case, left, count))
    return HardwareAdvice(
        context_tokens=case.workload.context_tokens or 0,
        concurrent_sequences=case.workload.concurrent_sequences,
        cards=tuple(sorted(found.values(), key=lambda row: (row.total_nominal_gb, row.count, -row.room_bytes))),
        largest_count=COUNTS[-1],
        too_small=tuple(card.name for group in groups if group not in found for card in group),
    )


def _alike(cards: Iterable[DeviceModel]) -> tuple[Alike, ...]:
    """Cards of one kind, generation and size; the one that reports least stands for them, so that what fits there fits on all."""
    groups: dict[tuple[object, ...], list[DeviceModel]] = {}
    for card in cards:
        groups.setdefault((card.kind, card.compute_capability, card.nominal_gb), []).append(card)
    return tuple(tuple(sorted(group, key=lambda card: card.reported_bytes)) for group in groups.values())


def _with_count(engine: Engine, case: Case, groups: list[Alike], count: int) -> Iterator[tuple[Alike, CardChoice]]:
    """Cards of which so many fit, from the largest down until ``_FAILURES`` in a row are too small."""
    failures = 0
    for group in sorted(groups, key=lambda group: -group[0].reported_bytes):
        placed = _placed(engine, case, group, count)
        outcome = alternative(engine, placed) if placed is not None else None
        if placed is None or outcome is None or outcome.limit is Limit.START:
            continue
        if outcome.verdict is Verdict.FITS and not gives_up(engine, placed, outcome):
            failures = 0
            yield group, _row(group, count, placed, outcome)
            continue
        failures += 1
        if failures == _FAILURES:
            return


def _placed(engine: Engine, case: Case, group: Alike, count: int) -> Case | None:
    """The question on so many of these cards; None where the engine cannot use so many."""
    devices = tuple(group[0].device(f"gpu{index}") for index in range(count))
    machine = replace(case.machine, devices=devices)
    open_case = replace(case, machine=machine, parallel=Parallel(), stated=case.stated - {"parallel"})
    layout = _layout(engine, open_case, count)
    return None if layout is None else replace(open_case, parallel=layout, stated=case.stated | {"parallel"})


def _layout(engine: Engine, case: Case, count: int) -> Parallel | None:
    """The engine's preferred layout that uses every card; None where it can use so many no way."""
    try:
        return next((layout for layout in engine.layouts(case) if layout.devices == count), None)
    except UllageError:
        return None


def _row(group: Alike, count: int, placed: Case, outcome: Outcome) -> CardChoice:
    return CardChoice(
        names=tuple(card.name for card in group),
        count=count,
        total_nominal_gb=group[0].nominal_gb * count,
        parallel=outcome.case.parallel,
        room_bytes=room_bytes(outcome),
        max_context_tokens=reachable(outcome),
        max_sequences=outcome.capacity.max_sequences.expected,
        changes=changes(placed, outcome),
    )
