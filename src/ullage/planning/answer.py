"""A case as it was asked, answered in full."""

from ullage.domain.case import Case
from ullage.domain.engine import Engine
from ullage.domain.plan import Finding, Objection, Plan, Remedy, Verdict
from ullage.planning.balance import balance_notes
from ullage.planning.fit import Outcome, evaluate
from ullage.planning.remedy import failed_attempts, helping, ranked, why_nothing_helps


def answer(engine: Engine, case: Case, *, remedies: bool = True, findings: tuple[Finding, ...] = ()) -> Plan:
    """The plan of a case whose settings are as stated or the engine's defaults."""
    return as_plan(engine, evaluate(engine, case), remedies=remedies, findings=findings)


def as_plan(engine: Engine, outcome: Outcome, *, remedies: bool = True, findings: tuple[Finding, ...] = ()) -> Plan:
    """An outcome with its command, its notes and, when wanted, its remedies."""
    case = outcome.case
    notes = list(engine.notes(case, outcome.ledger))
    notes.extend(f"the configuration has keys this program does not know: {', '.join(case.model.unread)}" for _ in case.model.unread[:1])
    notes.extend(balance_notes(outcome))
    found: tuple[Remedy, ...] = ()
    if remedies:
        tried = ranked(engine, outcome)
        found = helping(tried, outcome)
        notes.extend(failed_attempts(engine, tried, outcome))
        notes.extend(() if found else why_nothing_helps(tried, outcome))
    wrong = tuple(finding for finding in findings if finding.wrong)
    stops = tuple(
        Objection(text=finding.text, why="the command stops before anything is loaded", next_step="correct it") for finding in wrong
    )
    return Plan(
        case=case,
        ledger=outcome.ledger,
        verdict=Verdict.REFUSED if wrong else outcome.verdict,
        devices=outcome.devices,
        capacity=outcome.capacity,
        limit=outcome.limit,
        binding=_binding(outcome, wrong),
        objections=(*stops, *outcome.objections),
        command=engine.command(case),
        remedies=found,
        notes=tuple(notes),
        findings=findings,
    )


def _binding(outcome: Outcome, wrong: tuple[Finding, ...]) -> str:
    if not wrong:
        return outcome.binding
    after = outcome.binding if outcome.verdict is Verdict.REFUSED else f"it {_ANSWERS[outcome.verdict]}: {outcome.binding}"
    return f"the command stops before anything is loaded: {wrong[0].text}. With that put right, {after}"


_ANSWERS = {Verdict.FITS: "fits", Verdict.TIGHT: "is tight", Verdict.DOES_NOT_FIT: "does not fit", Verdict.REFUSED: "is refused"}
