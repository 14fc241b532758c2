"""``ullage workload FILE``: how long real requests are, which to leave out, and what a plan holds of them."""

from ullage.commands.question import ENGINE, MACHINE, PLACEMENT, find_engine, read_question
from ullage.commands.remembered import remembering
from ullage.commands.survey import Order, survey
from ullage.commands.verb import Answer, Argument, Flags, Option, Verb
from ullage.domain.forecast import Forecast
from ullage.domain.workload import Arrivals, Lengths
from ullage.errors import InputError
from ullage.planning.requests import WHICH, Limits, Rules, check_limits
from ullage.planning.rewrite import WAYS
from ullage.ports import World

_COUNTING = (
    Option("tokenizer", "text", "What counts: a tokenizer.json, a folder, a .gguf, a Hub id or a model.", "PATH|MODEL", panel="Counting"),
    Option("model", "text", "The model that is to serve them, whose tokeniser counts.", "MODEL", panel="Counting"),
    Option("requests", "text", "Which replies of a dialogue are requests: every, first or last.", "WORD", panel="Counting"),
    Option("message_tokens", "whole", "Tokens around each message, in place of what the chat template adds.", "N", panel="Counting"),
    Option("output_tokens", "whole", "The answer of a record that states none.", "N", panel="Counting"),
)
_FILTERS = (
    Option("max_prompt", "whole", "Leave out records with a longer prompt.", "TOKENS", panel="Filters"),
    Option("max_total", "whole", "Leave out records whose prompt and answer are longer.", "TOKENS", panel="Filters"),
    Option("min_prompt", "whole", "Leave out records with a shorter prompt.", "TOKENS", panel="Filters"),
    Option("min_output", "whole", "Leave out records with a shorter answer.", "TOKENS", panel="Filters"),
    Option("min_turns", "whole", "Leave out records with fewer replies.", "N", panel="Filters"),
    Option(
        "split",
        "text",
        "Rewrite those too long: window keeps their latest part, overlap all in parts, each with the answer's length.",
        "window|overlap",
        panel="Filters",
    ),
    Option("overlap", "whole", "Tokens that parts share at most; an eighth of the longest prompt unless said.", "TOKENS", panel="Filters"),
    Option("kept", "text", "Write what is kept, in the format of the data.", "FILE", panel="Filters"),
    Option("dropped", "text", "Write what is left out, with the reason.", "FILE", panel="Filters"),
)
TRAFFIC = (
    Option("rate", "text", "Requests a second, arriving at random.", "NUMBER", panel="Load"),
    Option("decode_rate", "text", "Tokens a second of one sequence, for the simulation (33 is assumed).", "NUMBER", panel="Load"),
    Option("prefill_rate", "text", "Prompt tokens a second, for the simulation (5000 is assumed).", "NUMBER", panel="Load"),
)
_CLIENTS = Option("concurrency", "whole", "Clients that each wait for their answer.", "N", panel="Load")
_ENGINE = Option("engine", "text", "The serving engine, to say what its plan for --model holds.", "NAME", panel="Engine")
_OUTPUT = (
    Option("json", "flag", "Answer as JSON."),
    Option("output", "text", "Write the summary, which `plan --workload` takes.", "FILE", ("--output", "-o")),
    Option("offline", "flag", "Never use the network."),
)


def _order(flags: Flags) -> Order:
    """What the options ask for. Raises InputError."""
    which, split = flags.text("requests") or WHICH[0], flags.text("split")
    if which not in WHICH:
        raise InputError(f"--requests {which}: write {', '.join(WHICH)}")
    if split is not None and split not in WAYS:
        raise InputError(f"--split {split}: write {' or '.join(WAYS)}")
    names = ("max_prompt", "max_total", "min_prompt", "min_output", "min_turns")
    limits = Limits(*(flags.whole(name) for name in names))
    check_limits(limits)
    longest = limits.max_prompt or limits.max_total
    if split is not None and longest is None:
        raise InputError(f"--split {split} needs the length to keep to: give --max-prompt or --max-total")
    around = flags.whole("message_tokens")
    if flags.whole("overlap") is not None and split is None:
        raise InputError("--overlap is of parts that --split makes: give --split window or overlap")
    overlap = flags.whole("overlap") or (longest or 0) // 8
    if longest is not None and overlap >= longest:
        raise InputError(f"--overlap {overlap} is no less than the {longest} tokens of a part: give a smaller one")
    return Order(
        path=flags.text("file") or "",
        rules=Rules(which, around or 0, around or 0, flags.whole("output_tokens") or 0),
        by_template=around is None,
        limits=limits,
        tokenizer=flags.text("tokenizer"),
        model=flags.text("model"),
        split=split,
        overlap_tokens=overlap,
        kept=flags.text("kept"),
        dropped=flags.text("dropped"),
        summary=flags.text("output"),
    )


def run(flags: Flags, world: World) -> Answer:
    """Count, filter and report; and what a plan of the model holds, where a machine is named."""
    seen = survey(_order(flags), world)
    exit_code = 0 if seen.prompt.count else 1
    forecast = _forecast(flags, world, seen.lengths, Arrivals(times_s=seen.times_s))
    if flags.flag("json") or flags.text("output") is not None:
        from ullage.report.workload_json import workload_values  # noqa: PLC0415 - only one of the two writers is needed

        values = workload_values(seen)
        if forecast is not None:
            from ullage.report.forecast_document import forecast_values  # noqa: PLC0415 - as above

            values["forecast"] = forecast_values(forecast)
        return Answer(exit_code, json=values)
    from ullage.report.forecast_document import forecast_document  # noqa: PLC0415 - as above
    from ullage.report.workload_document import workload_document  # noqa: PLC0415 - as above

    return Answer(exit_code, document=(*workload_document(seen), *(forecast_document(forecast) if forecast is not None else ())))


def _forecast(flags: Flags, world: World, lengths: Lengths, stated: Arrivals) -> Forecast | None:
    model = flags.text("model")
    if model is None or (flags.text("gpu") is None and flags.text("engine") is None) or not lengths.bins:
        return None
    from ullage.commands.traffic import arrivals_of, with_forecast, with_traffic  # noqa: PLC0415 - counting alone needs no plan
    from ullage.planning.search import solve  # noqa: PLC0415 - as above

    engine, remarks = remembering(flags, world, find_engine(flags, world))
    question = with_traffic(read_question(flags, world, engine, model), engine, lengths, arrivals_of(flags, stated), remarks)
    return with_forecast(solve(engine, question.case, remedies=False), engine, flags).forecast


VERB = Verb(
    name="workload",
    help="Say how long the requests of a data set are, leave out or rewrite those too long, and what a plan holds of them.",
    run=run,
    options=(*_COUNTING, *_FILTERS, _ENGINE, *MACHINE, *PLACEMENT, *ENGINE, _CLIENTS, *TRAFFIC, *_OUTPUT),
    argument=Argument(
        "file", "one", "ShareGPT JSON, OpenAI JSONL, text, Parquet, a trace of lengths (JSONL, CSV); all but Parquet also as .gz."
    ),
)
