"""``ullage plan MODEL``: how every byte will be used, whether it fits, and the command that does it."""

from typing import TYPE_CHECKING

from ullage.commands.question import (
    EMBEDDED,
    ENGINE,
    FORMATS,
    MACHINE,
    OUTPUT,
    PLACEMENT,
    TOKENIZER,
    WHICH_ENGINE,
    WORKLOAD,
    Question,
    find_engine,
    read_question,
)
from ullage.commands.remembered import remembering
from ullage.commands.verb import Answer, Argument, Flags, Option, Verb
from ullage.domain.case import Case
from ullage.domain.engine import Engine
from ullage.domain.plan import Plan
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.planning.answer import answer
from ullage.planning.search import OBJECTIVES, solve
from ullage.ports import World

if TYPE_CHECKING:
    from ullage.domain.advice import Advice, Comparison

_ALL = "all"
_DIMENSIONS = ("engines", "quants", "layouts")
_SUBJECTS = ("quant", "hardware", "models")
_ADVICE = (
    Option(
        "compare",
        "text",
        "Rank engines, quantisations and parallel layouts in one table.",
        f"[{_ALL}|{','.join(_DIMENSIONS)}]",
        panel="Advice",
        words=(_ALL, *_DIMENSIONS),
    ),
    Option(
        "advise",
        "text",
        "Say after the plan what other formats, cards and models would do.",
        f"[{_ALL}|{','.join(_SUBJECTS)}]",
        panel="Advice",
        words=(_ALL, *_SUBJECTS),
    ),
    Option("cards", "text", "The cards that --advise hardware considers, of all known: H100,4090.", "NAMES", panel="Advice"),
)
_TRAFFIC = (
    Option(
        "workload",
        "text",
        "Requests to size by: data, what `ullage workload -o` wrote, or PROMPT:ANSWER. --concurrency is then clients.",
        "FILE",
        panel="Load",
    ),
    TOKENIZER,
    Option("rate", "text", "Requests of --workload a second, arriving at random.", "NUMBER", panel="Load"),
    Option("decode_rate", "text", "Tokens a second of one sequence that --workload assumes (33).", "NUMBER", panel="Load"),
    Option("prefill_rate", "text", "Prompt tokens a second that --workload assumes (5000).", "NUMBER", panel="Load"),
)
_OBJECTIVE = Option("objective", "text", f"What to make the most of: {', '.join(OBJECTIVES)}.", "WORD", panel="Load")

_TAKEN = "no accelerator is meant and no engine was named: planned for the processor and our own runtime; --engine and --gpu name others"


def make_plan(flags: Flags, world: World) -> Plan:
    """The plan that the options ask for. Raises every error of the tree."""
    engine, question = _asked(flags, world)
    return _planned(flags, engine, question)


def _asked(flags: Flags, world: World) -> tuple[Engine, Question]:
    """The engine, as this machine's runs have it, and the question."""
    engine, notes = remembering(flags, world, find_engine(flags, world))
    question = read_question(flags, world, engine, flags.text("model") or "")
    chosen = (_TAKEN,) if flags.text("engine") is None and engine.profile.name == EMBEDDED else ()
    question = question._replace(notes=(*question.notes, *notes, *chosen))
    if flags.text("workload") is None:
        lone = next((name for name in ("rate", "decode_rate", "prefill_rate") if flags.text(name) is not None), None)
        if lone is not None:
            raise InputError(f"--{lone.replace('_', '-')} is of the requests of a workload: give --workload FILE")
        return engine, question
    from ullage.commands.traffic import read_traffic, with_traffic  # noqa: PLC0415 - a plain plan reads no data

    return engine, with_traffic(question, engine, *read_traffic(flags, world, flags.text("model")))


def _planned(flags: Flags, engine: Engine, question: Question) -> Plan:
    plan = finish(solve(engine, question.case, objective=_objective(flags)), flags, engine, question.notes)
    if plan.case.workload.lengths is None:
        return plan
    from ullage.commands.traffic import with_forecast  # noqa: PLC0415 - as above

    return with_forecast(plan, engine, flags)


def _objective(flags: Flags) -> str:
    return flags.text("objective") or OBJECTIVES[0]


def finish(plan: Plan, flags: Flags, engine: Engine, notes: tuple[str, ...]) -> Plan:
    """With the remedy of ``--apply`` applied, and the notes of reading the model.

    A remedy leads to a command of ours, of which what was found in the one somebody wrote no longer says anything.
    """
    wanted = flags.whole("apply")
    if wanted is not None:
        plan = answer(engine, _remedied(plan, wanted))
    return replace(plan, notes=(*plan.notes, *notes))


def _remedied(plan: Plan, number: int) -> Case:
    if number > len(plan.remedies):
        there = f"there are {len(plan.remedies)}" if plan.remedies else f"there are none: the plan's verdict is {plan.verdict.value}"
        raise InputError(f"--apply {number}: {there}; run the same without --apply to see them")
    return plan.remedies[number - 1].case


def report(plan: Plan, flags: Flags) -> Answer:
    """The plan for people or for programs, and the exit code it means."""
    exit_code = 0 if plan.runs else 1
    if flags.flag("json") or (flags.text("output") or "").endswith(".json"):
        from ullage.report.as_json import plan_values  # noqa: PLC0415 - only one of the two writers is needed

        return Answer(exit_code, json=plan_values(plan))
    from ullage.report.plan_document import plan_document  # noqa: PLC0415 - as above

    return Answer(exit_code, document=plan_document(plan, explain=flags.flag("explain")))


def run(flags: Flags, world: World) -> Answer:
    """Plan and report; and what else could be done, where that is asked."""
    if flags.text("compare") is None and flags.text("advise") is None:
        return report(make_plan(flags, world), flags)
    from ullage.commands.advice import advice_of, chosen, comparison_of  # noqa: PLC0415 - a plain plan has no need of the advisers

    dimensions, subjects = chosen(flags, "compare", _DIMENSIONS), chosen(flags, "advise", _SUBJECTS)
    engine, question = _asked(flags, world)
    plan = _planned(flags, engine, question)
    comparison = comparison_of(question.case, dimensions, _objective(flags)) if dimensions else None
    advice = advice_of(flags, world, engine, question.case, plan, subjects) if subjects else None
    return _with_advice(report(plan, flags), comparison, advice)


def _with_advice(answer: Answer, comparison: "Comparison | None", advice: "Advice | None") -> Answer:
    """The plan and the advice after it; a comparison for people stands in the plan's place, as it is many plans."""
    if answer.document is None:
        from ullage.report.advice_json import advice_values, comparison_values  # noqa: PLC0415 - only one of the two writers is needed

        values = dict(answer.json) if isinstance(answer.json, dict) else {}
        if comparison is not None:
            values["compare"] = comparison_values(comparison)
        if advice is not None:
            values["advice"] = advice_values(advice)
        return Answer(answer.exit_code, json=values)
    from ullage.report.advice_document import advice_document  # noqa: PLC0415 - as above
    from ullage.report.compare_document import compare_document  # noqa: PLC0415 - as above

    table = compare_document(comparison) if comparison is not None else ()
    first = () if comparison is not None and advice is None else answer.document
    return Answer(answer.exit_code, document=(*first, *(advice_document(advice) if advice is not None else ()), *table))


VERB = Verb(
    name="plan",
    help="Say how every byte will be used, whether it fits, what the best settings are, and the exact command.",
    run=run,
    options=(*MACHINE, *WORKLOAD, *_TRAFFIC, _OBJECTIVE, *PLACEMENT, WHICH_ENGINE, *ENGINE, *FORMATS, *_ADVICE, *OUTPUT),
    argument=Argument("model", "one", "A bundled name, a Hub id, hf:org/repo:Q4_K_M, a directory, a config.json, .gguf or .safetensors."),
)
