"""``ullage plan MODEL``: how every byte will be used, whether it fits, and the command that does it."""

from ullage.commands.question import ENGINE, FORMATS, MACHINE, OUTPUT, PLACEMENT, WORKLOAD, find_engine, read_question
from ullage.commands.verb import Answer, Argument, Flags, Option, Verb
from ullage.domain.case import Case
from ullage.domain.engine import Engine
from ullage.domain.plan import Plan, Verdict
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.planning.answer import answer
from ullage.planning.search import OBJECTIVES, solve
from ullage.ports import World

_WHICH_ENGINE = Option("engine", "text", "The serving engine (`ullage engines`).", "NAME", panel="Engine")
_OBJECTIVE = Option("objective", "text", f"What to make the most of: {', '.join(OBJECTIVES)}.", "WORD", panel="Load")


def make_plan(flags: Flags, world: World) -> Plan:
    """The plan that the options ask for. Raises every error of the tree."""
    engine = find_engine(flags)
    question = read_question(flags, world, engine, flags.text("model") or "")
    return finish(solve(engine, question.case, objective=flags.text("objective") or OBJECTIVES[0]), flags, engine, question.notes)


def finish(plan: Plan, flags: Flags, engine: Engine, notes: tuple[str, ...]) -> Plan:
    """With the remedy of ``--apply`` applied, and the notes of reading the model."""
    wanted = flags.whole("apply")
    if wanted is not None:
        plan = answer(engine, _remedied(plan, wanted), findings=plan.findings)
    return replace(plan, notes=(*plan.notes, *notes))


def _remedied(plan: Plan, number: int) -> Case:
    if number > len(plan.remedies):
        there = f"there are {len(plan.remedies)}" if plan.remedies else f"there are none: the plan's verdict is {plan.verdict.value}"
        raise InputError(f"--apply {number}: {there}; run the same without --apply to see them")
    return plan.remedies[number - 1].case


def report(plan: Plan, flags: Flags) -> Answer:
    """The plan for people or for programs, and the exit code it means."""
    runs = plan.verdict in {Verdict.FITS, Verdict.TIGHT} and not any(finding.wrong for finding in plan.findings)
    exit_code = 0 if runs else 1
    if flags.flag("json") or (flags.text("output") or "").endswith(".json"):
        from ullage.report.as_json import plan_values  # noqa: PLC0415 - only one of the two writers is needed

        return Answer(exit_code, json=plan_values(plan))
    from ullage.report.plan_document import plan_document  # noqa: PLC0415 - as above

    return Answer(exit_code, document=plan_document(plan, explain=flags.flag("explain")))


def run(flags: Flags, world: World) -> Answer:
    """Plan and report."""
    return report(make_plan(flags, world), flags)


VERB = Verb(
    name="plan",
    help="Say how every byte will be used, whether it fits, what the best settings are, and the exact command.",
    run=run,
    options=(*MACHINE, *WORKLOAD, _OBJECTIVE, *PLACEMENT, _WHICH_ENGINE, *ENGINE, *FORMATS, *OUTPUT),
    argument=Argument("model", "one", "A bundled name, a Hub id, hf:org/repo:Q4_K_M, a directory, a config.json, .gguf or .safetensors."),
)
