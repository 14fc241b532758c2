"""The budget of the device that failed, term by term: what the log measured in place of what we predict."""

from ullage.domain.cause import Budget, Cause, Family, Log, Term
from ullage.domain.ledger import Amount, Purpose
from ullage.domain.machine import HOST
from ullage.planning.diagnose_enough import term_of
from ullage.planning.diagnose_facts import Figures, Measured, card_of, detail
from ullage.planning.fit import Outcome


def rebuild(log: Log, figures: Figures, outcome: Outcome | None, cause: Cause | None, on_any: Outcome | None = None) -> Budget | None:
    """The device's terms, the one that overflowed marked; None when neither log nor case says anything of sizes.

    ``on_any`` is a plan on devices of any size, where theirs is not known: what weights take, and a token.
    """
    device = _of_term(outcome, device_of(figures, outcome), cause)
    is_host = cause is not None and cause.family is Family.HOST and outcome is not None and not outcome.case.machine.is_processor
    if is_host:
        device, figures = HOST, _of_host(log, figures)
    predicted = _predicted(outcome, device)
    if outcome is None and on_any is not None:
        predicted = {Purpose.WEIGHTS: term_of(on_any, Purpose.WEIGHTS)}
    told = sorted((*(() if is_host else _cache_in_bytes(log, outcome or on_any)), *figures.measured), key=lambda one: not one.is_of_other)
    measured = {one.purpose: one for one in told}
    term = cause.term if cause is not None else None
    wanted = [purpose for purpose in Purpose if purpose in predicted or purpose in measured or purpose is term]
    if not predicted and not measured and figures.total_bytes is None and figures.requested_bytes is None:
        return None
    lines = {seen.line: seen.text for seen in log.sightings}
    return Budget(
        device=card_of(figures.device) or device or "the device",
        total_bytes=figures.total_bytes or _total(outcome, device),
        limit_bytes=figures.budget_bytes or _limit(outcome, device),
        terms=tuple(_term(purpose, predicted.get(purpose), measured.get(purpose), lines, is_over=purpose is term) for purpose in wanted),
        requested_bytes=figures.requested_bytes,
        free_bytes=figures.free_bytes,
    )


def _of_host(log: Log, figures: Figures) -> Figures:
    """What the log tells of the host: the limit it ran under, and what was asked for; sizes are those of devices."""
    return Figures(
        device=HOST,
        total_bytes=log.host_limit_bytes,
        budget_bytes=None,
        fraction=None,
        measured=(),
        requested_bytes=figures.requested_bytes,
        free_bytes=figures.free_bytes,
    )


def _cache_in_bytes(log: Log, outcome: Outcome | None) -> tuple[Measured, ...]:
    """A cache that the log tells in tokens."""
    seen = next((seen for seen in log.sightings if detail(seen.fact, "kv_tokens")), None)
    tokens = outcome.capacity.kv_tokens.expected if outcome is not None else 0
    if seen is None or outcome is None or tokens <= 0:
        return ()
    nbytes = outcome.capacity.kv_cache_bytes.expected * (detail(seen.fact, "kv_tokens") or 0) // tokens
    return (Measured(purpose=Purpose.KV_CACHE, nbytes=nbytes, line=seen.line),)


def _term(purpose: Purpose, predicted: Amount | None, measured: Measured | None, lines: dict[int, str], *, is_over: bool) -> Term:
    return Term(
        purpose=purpose,
        predicted=predicted,
        measured=measured.nbytes if measured is not None else None,
        line=measured.line if measured is not None else None,
        says=lines.get(measured.line, "") if measured is not None else "",
        overflowed=is_over,
    )


def device_of(figures: Figures, outcome: Outcome | None) -> str | None:
    """The device of the case that the log means: by its number, else the fullest."""
    if outcome is None:
        return None
    ids = [device.id for device in outcome.case.machine.devices]
    digits = figures.device[-1:] if figures.device[-1:].isdigit() else ""
    if digits and f"gpu{digits}" in ids:
        return f"gpu{digits}"
    worst = max(outcome.devices, key=lambda seen: seen.peak.expected / max(1, seen.total_bytes), default=None)
    return worst.device if worst is not None else None


def _of_term(outcome: Outcome | None, device: str | None, cause: Cause | None) -> str | None:
    """Where one memory is two devices, the processor's beside the host's: the one that holds what overflowed."""
    if outcome is None or device is None or cause is None or cause.term in _predicted(outcome, device):
        return device
    sharing = [found.id for found in outcome.case.machine.devices if found.shares_memory_with == device]
    return next((found for found in sharing if cause.term in _predicted(outcome, found)), device)


def _predicted(outcome: Outcome | None, device: str | None) -> dict[Purpose, Amount]:
    if outcome is None or device is None:
        return {}
    found = {entry.purpose for entry in outcome.ledger.on(device)}
    return {purpose: outcome.ledger.of(device, purpose) for purpose in found}


def _total(outcome: Outcome | None, device: str | None) -> int | None:
    if outcome is None or device is None:
        return None
    return next((seen.total_bytes for seen in outcome.devices if seen.device == device), None)


def _limit(outcome: Outcome | None, device: str | None) -> int | None:
    if outcome is None:
        return None
    return next((join.nbytes for join in outcome.ledger.joins if join.device == device), None)
