"""``plan --workload``: sizes by the lengths of real requests in place of one context, and the pool simulated under them."""

import re

from ullage.commands.question import Question
from ullage.commands.survey import Order, survey
from ullage.commands.verb import Flags
from ullage.domain.engine import Engine
from ullage.domain.hyperparameters import Json
from ullage.domain.plan import Plan
from ullage.domain.workload import Arrivals, Growth, LengthBin, Lengths
from ullage.errors import InputError, WorldError
from ullage.frozen import replace
from ullage.planning.forecast import PACE, forecast
from ullage.planning.requests import Rules
from ullage.planning.simulate import Pace
from ullage.ports import World
from ullage.report.workload_json import counted_by, is_workload, read_workload

_LARGEST_SUMMARY = 1 << 20
_PLAIN = re.compile(r"(\d{1,7}):(\d{1,7})")


def read_traffic(flags: Flags, world: World, model: str | None) -> tuple[Lengths, Arrivals, tuple[str, ...]]:
    """The lengths of ``--workload``: a summary, the data itself, or PROMPT:ANSWER; when they come; and what to say. Raises every error."""
    path = flags.text("workload") or ""
    arrivals_of(flags, Arrivals())  # a wrong word is said before much is read
    pace_of(flags)
    if (plain := _PLAIN.fullmatch(path)) is not None:
        return _alike(int(plain[1]), int(plain[2])), arrivals_of(flags, Arrivals()), ()
    found = _summary(path, world)
    notes: tuple[str, ...] = ()
    if found is not None:
        lengths, arrivals = read_workload(found, path)
        notes = _of_another(counted_by(found), model)
    else:
        seen = survey(Order(path, Rules(), tokenizer=flags.text("tokenizer"), model=model), world)
        lengths, arrivals, notes = seen.lengths, Arrivals(times_s=seen.times_s), seen.notes
    return lengths, arrivals_of(flags, arrivals), tuple(f"workload: {note}" for note in notes)


def _alike(prompt: int, answer: int) -> Lengths:
    """Requests that all have these lengths."""
    prompt, answer = max(1, prompt), max(1, answer)
    return Lengths(
        bins=(LengthBin(prompt, answer, 1),),
        longest_prompt_tokens=prompt,
        longest_output_tokens=answer,
        longest_total_tokens=prompt + answer,
    )


def _of_another(counter: str, model: str | None) -> tuple[str, ...]:
    """That a summary was not counted by the tokeniser of this model, as far as names tell."""
    own = (model or "").rstrip("/").rpartition("/")[2].lower().removesuffix(".gguf")
    if not counter or not own or own in counter.lower():
        return ()
    return (f"its lengths were counted by {counter[:200]}; `ullage workload DATA --model {model} -o FILE` counts as this model does",)


def _summary(path: str, world: World) -> Json:
    """A summary that ``ullage workload -o`` wrote; None for data."""
    data = world.data.open(path)
    if data is None:
        raise WorldError(f"--workload {path} does not exist: give the data, or what `ullage workload FILE -o SUMMARY.json` wrote")
    if data.format != "jsonl" or data.nbytes > _LARGEST_SUMMARY:
        return None
    first = next(data.records(), None)
    if first is None or not is_workload(first.value):
        return None
    return first.value


def arrivals_of(flags: Flags, stated: Arrivals) -> Arrivals:
    """When requests come: as the options say, else as the records state, else all at once."""
    rate, clients = number(flags, "rate"), flags.whole("concurrency")
    if rate is not None and clients is not None:
        raise InputError("--rate and --concurrency are two ways for requests to come: give one")
    if rate is None and clients is None:
        return stated
    return Arrivals(rate_per_s=rate, clients=clients)


def number(flags: Flags, name: str) -> float | None:
    """A number above nought. Raises InputError."""
    text = flags.text(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise InputError(f"--{name.replace('_', '-')} {text}: write a number above 0, such as 2.5")
    return value


def pace_of(flags: Flags) -> Pace:
    """The assumed speeds, or those said."""
    decode, prefill = number(flags, "decode_rate"), number(flags, "prefill_rate")
    return Pace(step_s=1 / decode if decode is not None else PACE.step_s, prefill_tokens_per_s=prefill or PACE.prefill_tokens_per_s)


def with_traffic(question: Question, engine: Engine, lengths: Lengths, arrivals: Arrivals, notes: tuple[str, ...]) -> Question:
    """The question with room for the longest request, where no context was said; the model's own end is kept.

    An engine that takes cache as tokens come is not asked to hold all clients at their longest: the simulation says what they take.
    """
    case, work = question.case, question.case.workload
    end = case.model.architecture.max_context_tokens
    longest = max(1, lengths.longest_total_tokens)
    context = work.context_tokens or (min(longest, end) if end is not None else longest)
    grows = engine.profile.growth is Growth.TOKEN
    workload = replace(
        work,
        context_tokens=context,
        concurrent_sequences=1 if grows else work.concurrent_sequences,
        lengths=lengths,
        arrivals=arrivals,
    )
    over = sum(one.requests for one in lengths.bins if one.prompt_tokens + one.output_tokens > context)
    said = (f"workload: {over:,} of {lengths.requests:,} requests are longer than {context:,} tokens and would be refused",) if over else ()
    stated = (case.stated | {"context"}) - ({"concurrency"} if grows else set())
    return Question(replace(case, workload=workload, stated=stated), (*question.notes, *notes, *said))


def with_forecast(plan: Plan, engine: Engine, flags: Flags) -> Plan:
    """The plan with its pool simulated under the requests of its workload."""
    work = plan.case.workload
    if work.lengths is None:
        return plan
    return replace(plan, forecast=forecast(engine, plan, work.lengths, work.arrivals or Arrivals(), pace=pace_of(flags)))
