"""Engines, schemes and layouts side by side: every candidate is a case, planned as that engine would run it."""

from collections.abc import Iterator

from ullage.catalog import quantisations
from ullage.domain.advice import Candidate, Comparison, CostClass, NotPossible
from ullage.domain.case import Case, Model, Settings
from ullage.domain.engine import Engine
from ullage.domain.placement import Parallel
from ullage.domain.plan import Limit, Verdict
from ullage.errors import InputError, UllageError
from ullage.frozen import replace
from ullage.planning.fit import Outcome
from ullage.planning.quantise import cost_of, in_own_dtype, quantised
from ullage.planning.settle import changes, gives_up, reachable, room_bytes, settle

DIMENSIONS = ("engines", "quants", "layouts")
MOST_LAYOUTS = 3  # of one engine and scheme, where other things are compared too
_ALONE = 12  # where layouts alone are compared


def compare(engines: tuple[Engine, ...], case: Case, dimensions: frozenset[str], objective: str = "context") -> Comparison:
    """Every candidate, best first. Stated settings apply to the case's own engine alone, as names differ. Raises InputError."""
    unknown = dimensions - set(DIMENSIONS)
    if unknown or not dimensions:
        raise InputError(f"{', '.join(sorted(unknown)) or 'nothing'} cannot be compared: use all, or some of {','.join(DIMENSIONS)}")
    chosen = engines if "engines" in dimensions else tuple(known for known in engines if known.profile.name == case.engine)
    found: list[Candidate] = []
    refused: list[NotPossible] = []
    for engine in chosen:
        asked = _asked(engine, case)
        why = _wrong_devices(engine, asked)
        if why:
            refused.append(_not_possible(engine, asked, why))
            continue
        for model, cost, word in _models(engine, asked, dimensions):
            of_model = replace(asked, model=model)
            if not quantisations.reads(engine.profile.name, model.checkpoint.scheme):
                refused.append(_not_possible(engine, of_model, f"{engine.profile.title} does not read {model.checkpoint.scheme} weights"))
                continue
            rows, why = _planned(engine, of_model, (cost, word), _layouts(engine, of_model, dimensions), objective)
            found.extend(rows)
            if not rows:
                refused.append(_not_possible(engine, of_model, why))
    return Comparison(
        context_tokens=case.workload.context_tokens,
        concurrent_sequences=case.workload.concurrent_sequences,
        objective=objective,
        candidates=tuple(sorted(found, key=lambda row: _rank(row, objective, case.workload.context_tokens))),
        refused=tuple(refused),
    )


def _asked(engine: Engine, case: Case) -> Case:
    """The question put to another engine: its newest known release, its own defaults, any layout."""
    if engine.profile.name == case.engine:
        return case
    return replace(
        case,
        engine=engine.profile.name,
        version=engine.profile.default,
        settings=Settings(),
        environment=(),
        stated=case.stated & {"context", "concurrency", "parallel", "device_memory"},
    )


def _wrong_devices(engine: Engine, case: Case) -> str:
    kinds = {device.kind for device in case.machine.devices} - engine.profile.device_kinds
    return f"runs on {', '.join(sorted(engine.profile.device_kinds))} and not on {', '.join(sorted(kinds))}" if kinds else ""


def _not_possible(engine: Engine, case: Case, why: str) -> NotPossible:
    return NotPossible(engine=engine.profile.name, version=str(case.version), scheme=case.model.checkpoint.scheme, why=why)


def _models(engine: Engine, case: Case, dimensions: frozenset[str]) -> Iterator[tuple[Model, CostClass, str]]:
    """The model as it is, before its scheme, and in the schemes of the engine that differ from it; each with its cost and word."""
    yield case.model, cost_of(engine.profile.name, case.model), ""
    if "quants" not in dimensions:
        return
    plain = in_own_dtype(case.model)
    if plain is not None:
        yield plain, CostClass.NONE, plain.checkpoint.scheme
    for row in _schemes(engine, one_a_width=len(dimensions) > 1):
        try:
            model = quantised(case.model, row.word)
        except UllageError:
            continue
        if model.checkpoint.scheme != case.model.checkpoint.scheme:
            yield model, row.cost, row.word


def _schemes(engine: Engine, *, one_a_width: bool) -> tuple[quantisations.Quantisation, ...]:
    """The engine's schemes, the widest first; of one width the first alone where many layouts are tried too."""
    rows = quantisations.words_for(engine.profile.name)
    return tuple({int(row.bits): row for row in reversed(rows)}.values())[::-1] if one_a_width else rows


def _layouts(engine: Engine, case: Case, dimensions: frozenset[str]) -> tuple[Parallel, ...]:
    """Layouts to try; nothing said of them in ``dimensions`` leaves the engine's own order, of which the first that fits is taken."""
    if "parallel" in case.stated:
        return (case.parallel,)
    try:
        layouts = engine.layouts(case) or (case.parallel,)
    except UllageError:
        return (case.parallel,)
    if dimensions == {"layouts"}:
        return layouts[:_ALONE]
    halves = [layout for layout in layouts if layout.devices & (layout.devices - 1) == 0]
    widest = max(layouts, key=lambda layout: layout.devices)
    chosen = sorted({widest, *halves}, key=lambda layout: -layout.devices)[:MOST_LAYOUTS]
    return tuple(chosen) if "layouts" in dimensions else tuple(chosen[:1])


def _planned(
    engine: Engine, case: Case, scheme: tuple[CostClass, str], layouts: tuple[Parallel, ...], objective: str
) -> tuple[list[Candidate], str]:
    """The layouts that the engine would start on, from the most devices to the fewest; or why there is none."""
    rows, why = [], ""
    for layout in layouts:
        placed = replace(case, parallel=layout, stated=case.stated | {"parallel"})
        try:
            outcome = settle(engine, placed, objective)
        except UllageError as error:
            why = why or str(error)
            continue
        if outcome.verdict is Verdict.REFUSED:
            why = why or _short(outcome.objections[0].why)
            if outcome.limit is not Limit.START:
                break  # too little memory, and fewer devices have less
            continue
        rows.append(_candidate(engine, placed, outcome, scheme))
        if outcome.verdict is Verdict.DOES_NOT_FIT:
            break  # fewer devices hold less still
    return rows, why


def _short(sentence: str) -> str:
    return sentence if len(sentence) <= 160 else sentence[:157] + "..."  # noqa: PLR2004 - two lines of a table


def _candidate(engine: Engine, asked: Case, outcome: Outcome, scheme: tuple[CostClass, str]) -> Candidate:
    cost, word = scheme
    if cost.rank < CostClass.SPEED.rank and gives_up(engine, asked, outcome):
        cost = CostClass.SPEED
    return Candidate(
        engine=engine.profile.name,
        version=str(outcome.case.version),
        word=word,
        scheme=asked.model.checkpoint.scheme,
        cost=cost,
        parallel=outcome.case.parallel,
        verdict=outcome.verdict,
        weight_bytes=asked.model.checkpoint.nbytes,
        kv_bytes_per_token=outcome.capacity.kv_bytes_per_token,
        max_context_tokens=reachable(outcome),
        max_sequences=outcome.capacity.max_sequences.expected,
        room_bytes=room_bytes(outcome),
        changes=changes(asked, outcome),
    )


def _rank(row: Candidate, objective: str, asked: int | None) -> tuple[int, int, int, int, int, str]:
    """Smaller is better: verdict, objective, cost class, devices, weights. A length that was asked for is enough; none is a bonus.

    What does not run is ranked by how much it lacks.
    """
    devices = row.parallel.devices
    if row.verdict.rank > Verdict.TIGHT.rank:
        return row.verdict.rank, -row.room_bytes, row.cost.rank, devices, -row.weight_bytes, row.engine
    context = row.max_context_tokens if asked is None else min(row.max_context_tokens, asked)
    wanted = {"context": -context, "concurrency": -row.max_sequences, "devices": devices}[objective]
    return row.verdict.rank, wanted, row.cost.rank, devices, -row.weight_bytes, row.engine
