"""A change without a plan: a value by the log's own figures, or only the way to go."""

from typing import Final

from ullage.catalog.common_hints import OTHER_PROCESSES
from ullage.domain.case import Value
from ullage.domain.cause import Cause, Change, Hint, Kind, Log
from ullage.domain.ledger import Purpose
from ullage.planning.change import shown
from ullage.planning.diagnose_enough import SLACK
from ullage.planning.diagnose_facts import Figures, detail

FRACTIONS: Final = frozenset({"gpu_memory_utilization", "mem_fraction_static", "max_memory_percent"})
_MOST_FRACTION, _LEAST_FRACTION, _STEP = 0.98, 0.1, 0.01
_LAYERS: Final = "n_gpu_layers"
_STEP_TERMS: Final = frozenset({Purpose.ACTIVATIONS, Purpose.LOGITS, Purpose.WORKSPACE})
# Settings that what is made in one step, or the cache, is in proportion to.
_GROWS_WITH: Final = {
    **dict.fromkeys(("ubatch_size", "max_num_batched_tokens", "chunked_prefill_size", "prefill_chunk_size", "chunk_size"), _STEP_TERMS),
    "ctx_size": frozenset({Purpose.KV_CACHE}),
}


def as_value(text: str) -> Value:
    """A setting as a log writes it."""
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


def guess(hint: Hint, cause: Cause, log: Log, figures: Figures, present: dict[str, Value]) -> Change | None:
    """A change by the log's own figures, or without a value."""
    now = present.get(hint.setting)
    if cause.kind is Kind.DEVICE_NOT_FREE and hint.setting != OTHER_PROCESSES and _is_full(hint, figures):
        return None
    value = hint.value if hint.value is not None else _guess(hint, now, cause, log, figures)
    if value == now and value is not None:
        return None
    return Change(setting=hint.setting, value=value, up=hint.up, cost=hint.cost, says=_says(hint, now, value))


def _is_full(hint: Hint, figures: Figures) -> bool:
    """Whether others leave nothing, or less than the least share that an engine takes."""
    total, free = figures.total_bytes, figures.free_bytes
    if not total or free is None:
        return False
    return free <= 0 or (hint.setting in FRACTIONS and free / total < _STEP)


def _says(hint: Hint, now: Value, value: Value) -> str:
    way = "raise" if hint.up else "lower"
    if hint.value is not None:
        return f"{hint.setting} = {shown(value)}"
    if value is None:
        return f"{way} {hint.setting}" + (f" (now {shown(now)})" if now is not None else "")
    return f"{way} {hint.setting} to {shown(value)}" + (f" (now {shown(now)})" if now is not None else "")


def _guess(hint: Hint, now: Value, cause: Cause, log: Log, figures: Figures) -> Value:
    """A value by the log's own figures, or None."""
    stated = next(
        (detail(seen.fact, "estimated_max_model_len") for seen in log.sightings if detail(seen.fact, "estimated_max_model_len")), None
    )
    if hint.setting in {"max_model_len", "context_length"} and cause.kind is Kind.CACHE_TOO_SMALL:
        tokens = next((detail(seen.fact, "kv_tokens") for seen in log.sightings if seen.fact.name == "error.kv_too_small"), None)
        return stated or tokens
    if isinstance(now, bool) or not isinstance(now, int | float):
        return None
    if hint.setting in FRACTIONS:
        return _fraction(hint, float(now), cause, figures)
    if hint.setting == _LAYERS and cause.lacking_bytes and (layers := _layers(int(now), cause, figures)) is not None:
        return layers
    if isinstance(now, int) or float(now).is_integer():
        return int(now) * 2 if hint.up else _halved(hint.setting, int(now), cause, figures)
    return None


def _halved(setting: str, now: int, cause: Cause, figures: Figures) -> int:
    """Half; where what failed grows with the setting and the log tells what was free, halved until that is enough."""
    asked, free = figures.requested_bytes, figures.free_bytes
    value = max(1, now // 2)
    if not asked or not free or cause.term not in _GROWS_WITH.get(setting, frozenset()):
        return value
    while value > 1 and asked * value * SLACK > free * now:
        value //= 2
    return value


def _layers(now: int, cause: Cause, figures: Figures) -> int | None:
    """How many layers the device can hold, by what those there take of it; None where the log does not tell."""
    held = sum(one.nbytes for one in figures.measured if one.purpose in {Purpose.WEIGHTS, Purpose.KV_CACHE})
    more = (figures.requested_bytes or 0) if cause.term is Purpose.KV_CACHE else 0
    short = int((cause.lacking_bytes or 0) * SLACK)
    return max(0, now - -(-short * now // (held + more))) if held and now else None


def _fraction(hint: Hint, now: float, cause: Cause, figures: Figures) -> Value:
    """The share that makes up for what was missing; a few hundredths where that is not known."""
    if cause.kind is Kind.DEVICE_NOT_FREE and figures.total_bytes and figures.free_bytes is not None:
        largest = int(100 * figures.free_bytes / figures.total_bytes) / 100  # that starts
        return largest if largest < now else None
    step = 0.05
    if cause.lacking_bytes and figures.total_bytes:
        step = max(_STEP, round(SLACK * cause.lacking_bytes / figures.total_bytes + _STEP / 2, 2))
    value = round(now + step if hint.up else now - step, 2)
    if hint.up and value > _MOST_FRACTION:
        return _MOST_FRACTION if now < _MOST_FRACTION else None
    return value if value >= _LEAST_FRACTION else None
