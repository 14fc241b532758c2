"""A counted file of requests as JSON under schema ``ullage.workload/1``, and its lengths read back."""

from ullage.domain.hyperparameters import Json
from ullage.domain.survey import Spread, Survey
from ullage.domain.workload import Arrivals, LengthBin, Lengths
from ullage.errors import MalformedFileError

SCHEMA = "ullage.workload/1"


def workload_values(survey: Survey) -> dict[str, Json]:
    """Everything that was counted."""
    return {
        "schema": SCHEMA,
        "source": survey.source,
        "format": survey.format,
        "tokenizer": {"name": survey.tokenizer, "exact": survey.is_exact},
        "records": survey.records,
        "kept": survey.turns.count,
        "malformed": survey.malformed,
        "faults": [{"record": one.record, "line": one.line, "why": one.why} for one in survey.faults],
        "dropped": dict(survey.dropped),
        "rewritten": survey.rewritten,
        "cut_requests": survey.cut_requests,
        "counted_tokens": survey.counted_tokens,
        "prompt_tokens": _spread(survey.prompt),
        "output_tokens": _spread(survey.output),
        "total_tokens": _spread(survey.total),
        "turns": _spread(survey.turns),
        "lengths": {
            "longest_prompt_tokens": survey.lengths.longest_prompt_tokens,
            "longest_output_tokens": survey.lengths.longest_output_tokens,
            "longest_total_tokens": survey.lengths.longest_total_tokens,
            "bins": [[one.prompt_tokens, one.output_tokens, one.requests] for one in survey.lengths.bins],
        },
        "times_s": list(survey.times_s),
        "notes": list(survey.notes),
    }


def _spread(spread: Spread) -> dict[str, Json]:
    return {
        "count": spread.count,
        "mean": spread.mean,
        "min": spread.least,
        "p50": spread.p50,
        "p90": spread.p90,
        "p95": spread.p95,
        "p99": spread.p99,
        "max": spread.most,
        "histogram": [[start, end, count] for start, end, count in spread.bars],
    }


def is_workload(value: Json) -> bool:
    """Whether this is a summary and no data."""
    return isinstance(value, dict) and value.get("schema") == SCHEMA


def read_workload(value: Json, where: str) -> tuple[Lengths, Arrivals]:
    """The lengths and stated arrivals of a summary. Raises MalformedFileError naming the key."""
    lengths = value.get("lengths") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(lengths, dict):
        raise MalformedFileError(f"{where} has no lengths: write it again with `ullage workload FILE -o {where}`")
    bins = lengths.get("bins")
    if not isinstance(bins, list) or not bins:
        raise MalformedFileError(f"{where}: lengths.bins is no list of requests")
    times = value.get("times_s")
    return (
        Lengths(
            bins=tuple(_bin(one, at, where) for at, one in enumerate(bins)),
            longest_prompt_tokens=_count(lengths.get("longest_prompt_tokens"), "longest_prompt_tokens", where),
            longest_output_tokens=_count(lengths.get("longest_output_tokens"), "longest_output_tokens", where),
            longest_total_tokens=_count(lengths.get("longest_total_tokens"), "longest_total_tokens", where),
        ),
        Arrivals(times_s=tuple(sorted(float(at) for at in times if isinstance(at, int | float))) if isinstance(times, list) else ()),
    )


def counted_by(value: Json) -> str:
    """What counted the tokens of a summary, empty where it does not say."""
    tokenizer = value.get("tokenizer") if isinstance(value, dict) else None
    name = tokenizer.get("name") if isinstance(tokenizer, dict) else None
    return name if isinstance(name, str) else ""


def _bin(one: Json, at: int, where: str) -> LengthBin:
    if not isinstance(one, list) or len(one) != len(("prompt", "output", "requests")):
        raise MalformedFileError(f"{where}: lengths.bins[{at}] is not [prompt tokens, output tokens, requests]")
    prompt, output, requests = (_count(part, f"bins[{at}]", where) for part in one)
    return LengthBin(prompt, output, max(1, requests))


def _count(value: Json, key: str, where: str) -> int:
    if type(value) is not int or value < 0:
        raise MalformedFileError(f"{where}: lengths.{key} is {str(value)[:40]}, not a count")
    return value
