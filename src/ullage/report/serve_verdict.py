"""What a plan says of a command that is only shown: what does not fit, by how much, and what to change."""

from ullage.domain.hyperparameters import Json
from ullage.domain.plan import Plan, Verdict
from ullage.report.as_json import remedy_as_values
from ullage.report.plan_document import remedy_in_words, verdict_word
from ullage.units import format_bytes

_MOST = 3  # changes, the best first
_NOTHING = "no single change makes it fit: `ullage plan MODEL --advise` names formats, devices and models that do"


def verdict_lines(plan: Plan | None) -> tuple[str, ...]:
    """One sentence each; none where it fits, or nobody could plan it."""
    if plan is None or plan.verdict is Verdict.FITS:
        return ()
    said = f"{verdict_word(plan.verdict)}: {plan.binding}"
    passed = [(seen, format_bytes(seen.peak.expected - seen.total_bytes)) for seen in plan.devices if seen.verdict is Verdict.DOES_NOT_FIT]
    over = tuple(
        f"{seen.device} needs {format_bytes(seen.peak.expected)} of {format_bytes(seen.total_bytes)}, {by} too much"
        for seen, by in passed
        if f"{by} too much" not in plan.binding
    )
    # What an engine advises for its own check is no help where the device itself is too small.
    steps = () if passed else tuple(f"next: {objection.next_step}" for objection in plan.objections)
    changes = tuple(f"it helps to change {remedy_in_words(remedy)}" for remedy in plan.remedies[:_MOST])
    if plan.verdict is Verdict.TIGHT:
        return (said, *changes)
    return (said, *over, *steps, *(changes or (() if steps else (_NOTHING,))))


def verdict_values(plan: Plan | None) -> dict[str, Json]:
    """The same as JSON; null where nobody could plan it."""
    if plan is None:
        return {"verdict": None, "binding": None, "refusals": [], "remedies": []}
    return {
        "verdict": plan.verdict.value,
        "binding": plan.binding,
        "refusals": [objection.text for objection in plan.objections],
        "remedies": [remedy_as_values(remedy) for remedy in plan.remedies],
    }
