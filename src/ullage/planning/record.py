"""A run as it is remembered: a plan's promises, readings as percentiles, growth per token, and marks of model and machine."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from ullage import engines
from ullage.domain.architecture import Architecture
from ullage.domain.baseline import DeviceMark, Exit, Growth, MachineMark, ModelMark, Promised, Run, Seen
from ullage.domain.case import Case, Model
from ullage.domain.ledger import Ledger, Phase, Purpose, total
from ullage.domain.plan import Plan

_FEWEST_POINTS = 3
_MOST_POINTS = 512  # slopes are taken between all pairs


def run_of(plan: Plan, *, id: str, started_at: datetime, driver: str = "") -> Run:  # noqa: A002 - the field's own name
    """A run that has just begun: what the rules promise, nothing seen yet. Fill in the rest with ``replace``.

    A plan may be narrowed by earlier runs already; what is stored is the promise before that, or runs would teach what they were taught.
    """
    case = plan.case
    return Run(
        id=id,
        started_at=started_at,
        ended_at=None,
        engine=case.engine,
        version=str(case.version),
        machine=mark_machine(case, driver),
        model=mark_model(case.model),
        parallel=case.parallel,
        workload=case.workload,
        settings=case.settings,
        exit=Exit.RUNNING,
        promised=promised_of(engines.find(case.engine).ledger(case)),
    )


def promised_of(ledger: Ledger) -> tuple[Promised, ...]:
    """Every purpose and phase of a ledger on every device, and what is alive on each device in each phase."""
    found: list[Promised] = []
    for device in dict.fromkeys(entry.device for entry in ledger.entries):
        entries, has_join = ledger.on(device), any(join.device == device for join in ledger.joins)
        keys = [(entry.purpose, entry.phase, has_join and entry.budgeted) for entry in entries]
        for key in dict.fromkeys(keys):
            amount = total(entry.amount for entry, own in zip(entries, keys, strict=True) if own == key)
            found.append(Promised(device=device, purpose=key[0], phase=key[1], amount=amount, joined=key[2]))
        phases = dict.fromkeys((Phase.RESIDENT, *(entry.phase for entry in entries)))
        found.extend(Promised(device=device, purpose=None, phase=phase, amount=ledger.at(device, phase)) for phase in phases)
    return tuple(found)


def mark_machine(case: Case, driver: str = "") -> MachineMark:
    """The devices that a case uses, and the host."""
    host = case.machine.host
    devices = tuple(DeviceMark(id=one.id, kind=one.kind, name=one.name, total_bytes=one.total_bytes) for one in case.devices)
    return MachineMark(devices=devices, host_bytes=host.total_bytes if host is not None else None, driver=driver)


def mark_model(model: Model) -> ModelMark:
    """A model's name, family, shape and scheme."""
    shape = model.architecture
    return ModelMark(
        name=model.name, model_type=shape.model_type, architecture_hash=architecture_hash(shape), scheme=model.checkpoint.scheme
    )


def architecture_hash(shape: Architecture) -> str:
    """16 hexadecimal digits, alike for models of one shape whatever they are called."""
    parts = (
        shape.model_type,
        shape.hidden_size,
        shape.vocab_size,
        shape.layers,
        shape.tied_embeddings,
        shape.max_context_tokens,
        shape.dtype,
        shape.rotary,
        shape.encoder_tokens,
        shape.is_decoder,
    )
    return sha256(repr(parts).encode()).hexdigest()[:16]


def summarise(
    device: str,
    purpose: Purpose | None,
    phase: Phase,
    readings: Sequence[int],
    *,
    peak_bytes: int | None = None,
    reached: bool = False,
) -> Seen | None:
    """Readings in bytes as percentiles (nearest rank); None where there are none."""
    if not readings and peak_bytes is None:
        return None
    ranked = sorted(readings) or [peak_bytes or 0]
    return Seen(
        device=device,
        purpose=purpose,
        phase=phase,
        samples=len(readings),
        p50_bytes=_percentile(ranked, 50),
        p95_bytes=_percentile(ranked, 95),
        max_bytes=ranked[-1],
        peak_bytes=peak_bytes,
        reached=reached,
    )


def _percentile(ranked: Sequence[int], percent: int) -> int:
    """The nearest rank: 95 % of 20 readings is the 19th."""
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)]


def fit_growth(device: str, readings: Sequence[tuple[int, int]]) -> Growth | None:
    """Bytes per token from (tokens held, bytes) pairs; None for fewer than three numbers of tokens.

    The median of the slopes between all pairs (Theil 1950, Sen 1968): a third of the readings may be off without moving it.
    """
    step = -(-len(readings) // _MOST_POINTS) or 1
    points = tuple(readings[::step])
    tokens = sorted({one for one, _ in points})
    if len(tokens) < _FEWEST_POINTS:
        return None
    slopes = sorted(
        (later - earlier) / (more - fewer)
        for index, (fewer, earlier) in enumerate(points)
        for more, later in points[index + 1 :]
        if more != fewer
    )
    middle = (slopes[(len(slopes) - 1) // 2] + slopes[len(slopes) // 2]) / 2
    return Growth(device=device, bytes_per_token=middle, from_tokens=tokens[0], to_tokens=tokens[-1], points=len(points))
