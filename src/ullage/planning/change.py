"""One change to a question, in the engine's words or ours."""

from ullage.domain.case import Case, Value, Version
from ullage.domain.plan import Lever
from ullage.frozen import replace
from ullage.units import format_bytes

_LEAST_BYTES = 1 << 24  # more than any count of tokens or sequences


def shown(value: Value) -> str:
    """A setting's value as it is written; beside a number that can only be bytes, how much that is."""
    return f"{value} ({format_bytes(value)})" if isinstance(value, int) and value >= _LEAST_BYTES else str(value)


def apply_change(  # noqa: PLR0911 - one answer for each word
    case: Case, name: str, value: Value
) -> Case:
    """The case with one thing changed; None takes a setting back to its default. Words of ours: tensor, pipeline, context, ..."""
    match name, value:
        case "tensor", int():
            return replace(case, parallel=replace(case.parallel, tensor=value))
        case "pipeline", int():
            return replace(case, parallel=replace(case.parallel, pipeline=value))
        case "context", int():
            return replace(case, workload=replace(case.workload, context_tokens=value))
        case "concurrency", int():
            return replace(case, workload=replace(case.workload, concurrent_sequences=value))
        case "engine_version", str():
            return replace(case, version=Version.of(value))
        case _, str() if name.isupper():  # a name in capitals is an environment variable
            return replace(case, environment=(*(pair for pair in case.environment if pair[0] != name), (name, value)))
        case _, None:
            return replace(case, settings=case.settings.without(name))
        case _:
            return case.with_settings(**{name: value})


def _within(case: Case, length: int) -> Case:
    """A shorter model length shortens what is asked of it."""
    asked = case.workload.context_tokens
    return replace(case, workload=replace(case.workload, context_tokens=length)) if asked is not None and asked > length else case


def apply_lever(case: Case, lever: Lever, value: Value, *, length_setting: str = "") -> Case:
    """A lever's value and what has to go along with it; ``length_setting`` is the engine's name of a sequence's bound."""
    changed = apply_change(case, lever.setting, value)
    if lever.setting == length_setting and isinstance(value, int):
        changed = _within(changed, value)
    for name, other in lever.also:
        changed = apply_change(changed, name, other)
    return changed
