"""Other models that fit with the same settings: relatives that keep less a token first, then the largest."""

import re
from collections.abc import Callable, Iterable, Iterator

from ullage.domain.advice import ModelAdvice, ModelChoice
from ullage.domain.case import Case, Model
from ullage.domain.engine import Engine
from ullage.domain.plan import Plan, Verdict
from ullage.errors import UllageError
from ullage.frozen import replace
from ullage.planning.fit import Outcome
from ullage.planning.settle import alternative, pinned, reachable

MOST_ROWS = 10
MOST_RELATIVES = 5
MOST_TRIED = 24
SIMILAR = (0.5, 1.6)  # parameters, against those of the model asked for
_SIZE = re.compile(r"(?<![a-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bt])(?![a-z0-9])", re.IGNORECASE)

Read = Callable[[str], Model]


def advise_models(engine: Engine, asked: Case, plan: Plan, names: Iterable[str], read: Read) -> ModelAdvice:
    """At most ten models of ``names``. ``read`` gives one in the scheme of the model asked for, and raises where it cannot."""
    case = pinned(asked, plan)
    known = tuple(names)
    relatives = _relatives(engine, case, known, read)
    rows = [*relatives[:MOST_RELATIVES], *_largest(engine, case, known, read, relatives[:MOST_RELATIVES])]
    return ModelAdvice(
        context_tokens=case.workload.context_tokens or 0,
        concurrent_sequences=case.workload.concurrent_sequences,
        scheme=case.model.checkpoint.scheme,
        kv_bytes_per_token=_kv(plan),
        models=tuple(rows[:MOST_ROWS]),
    )


def _kv(plan: Plan) -> int:
    return plan.capacity.kv_bytes_per_token if plan.capacity is not None else 0


def size_in_name(name: str) -> float | None:
    """Parameters that a name tells (``70B``, ``8x7B``, ``1T``), or None. Of several the largest: active ones come beside the whole."""
    found = [int(many or 1) * float(size) * (1e12 if unit in "tT" else 1e9) for many, size, unit in _SIZE.findall(name.rpartition("/")[2])]
    return max(found, default=None)


def _organisation(name: str) -> str:
    return name.rpartition("/")[0].lower()


def _family(model: Model) -> str:
    """The letters that a model type begins with: qwen of qwen2 and qwen3_moe."""
    found = re.match(r"[a-z]+", model.architecture.model_type)
    return found[0] if found else model.architecture.model_type


def _relatives(engine: Engine, case: Case, names: tuple[str, ...], read: Read) -> list[ModelChoice]:
    """Of the same organisation or family, of similar size, keeping less a token, and fitting; the largest first."""
    own, model = _organisation(case.model.name), case.model
    stem = _family(model)
    low, high = (share * model.parameters for share in SIMILAR)
    near = [
        name
        for name in names
        if (_organisation(name) == own or stem in name.lower()) and low / 1.2 <= (size_in_name(name) or model.parameters) <= high * 1.2
    ]
    near.sort(key=lambda name: abs((size_in_name(name) or model.parameters) - model.parameters))
    now = alternative(engine, case)
    limit = now.capacity.kv_bytes_per_token if now is not None else 0
    rows = [
        row
        for row in _planned(engine, case, near[:MOST_TRIED], read)
        if low <= row.parameters <= high and 0 < row.kv_bytes_per_token < limit
    ]
    return sorted(rows, key=lambda row: (row.verdict.rank, -row.parameters, row.kv_bytes_per_token))


def _largest(engine: Engine, case: Case, names: tuple[str, ...], read: Read, before: list[ModelChoice]) -> list[ModelChoice]:
    """The largest that fit, from the largest that could: no more bytes than the devices have, at the bits of the model asked for."""
    bits = case.model.checkpoint.nbytes / max(1, case.model.parameters)
    room = sum(device.total_bytes for device in case.machine.devices) + (case.machine.host.total_bytes if case.machine.host else 0)
    sized = [(size, name) for name in names if (size := size_in_name(name)) is not None and size * bits <= room]
    shapes = {(row.parameters, row.kv_bytes_per_token) for row in before}
    rows: list[ModelChoice] = []
    for row in _planned(engine, case, [name for _, name in sorted(sized, key=lambda pair: -pair[0])][:MOST_TRIED], read):
        if (row.parameters, row.kv_bytes_per_token) not in shapes:
            shapes.add((row.parameters, row.kv_bytes_per_token))
            rows.append(row)
        if len(rows) + len(before) >= MOST_ROWS:
            break
    return sorted(rows, key=lambda row: (row.verdict.rank, -row.parameters))


def _planned(engine: Engine, case: Case, names: Iterable[str], read: Read) -> Iterator[ModelChoice]:
    """Those that can be read in this scheme and fit; what is the model itself, or has its shape, is none."""
    shapes = {(case.model.parameters, len(case.model.architecture.layers))}
    for name in names:
        try:
            model = read(name)
        except UllageError:
            continue
        shape = (model.parameters, len(model.architecture.layers))
        if shape in shapes or not _is_comparable(case, model):
            continue
        shapes.add(shape)
        row = _row(model, alternative(engine, replace(case, model=model)), related=_is_related(case.model, model))
        if row is not None:
            yield row


def _is_comparable(case: Case, model: Model) -> bool:
    """Whether it is stored at the same bits and is made for the asked length."""
    alike = model.checkpoint.scheme == case.model.checkpoint.scheme or not (model.is_quantised or case.model.is_quantised)
    longest = model.architecture.max_context_tokens
    return alike and model.architecture.is_decoder and (longest is None or longest >= (case.workload.context_tokens or 0))


def _is_related(one: Model, other: Model) -> bool:
    return _organisation(one.name) == _organisation(other.name) or _family(one) == _family(other)


def _row(model: Model, outcome: Outcome | None, *, related: bool) -> ModelChoice | None:
    if outcome is None or outcome.verdict not in {Verdict.FITS, Verdict.TIGHT}:
        return None
    return ModelChoice(
        name=model.name,
        parameters=model.parameters,
        weight_bytes=model.checkpoint.nbytes,
        kv_bytes_per_token=outcome.capacity.kv_bytes_per_token,
        is_related=related,
        verdict=outcome.verdict,
        max_context_tokens=reachable(outcome),
        max_sequences=outcome.capacity.max_sequences.expected,
    )
