"""Formats of the weights and of the cache, kept apart: what each frees on this model and machine, and the widest that fits.

A weight-only scheme never changes what a token keeps in the cache; that is read from the engine's own answer for each scheme.
"""

from collections.abc import Iterator

from ullage.catalog import quantisations
from ullage.domain.advice import CacheChoice, Component, CostClass, FormatAdvice, WeightChoice
from ullage.domain.case import Case, Model
from ullage.domain.checkpoint import EXPERT_ROLES, Checkpoint, Part, Role
from ullage.domain.engine import Engine
from ullage.domain.plan import Lever, Limit, Plan, Verdict
from ullage.errors import UllageError
from ullage.frozen import replace
from ullage.planning.change import apply_lever
from ullage.planning.fit import Outcome
from ullage.planning.quantise import cost_of, in_own_dtype, quantised
from ullage.planning.settle import alternative, changes, gives_up, pinned, reachable, settle, weights_by_device
from ullage.units import format_count

_QUALITY_RANK = 3  # levers that cost quality; of these, the ones that make a token smaller are formats of the cache
_PARTS = (
    ("embeddings and head", frozenset({Role.EMBEDDING, Role.HEAD, Role.POSITION})),
    (
        "attention and states",
        frozenset(
            {Role.Q, Role.K, Role.V, Role.QKV, Role.O, Role.Q_A, Role.Q_B, Role.KV_A, Role.KV_B, Role.INDEXER, Role.ATTENTION_OTHER}
            | {Role.RECURRENT_IN, Role.RECURRENT_OUT, Role.RECURRENT_CONV, Role.RECURRENT_STATE}
        ),
    ),
    (
        "MLP",
        frozenset(
            {Role.GATE, Role.UP, Role.GATE_UP, Role.DOWN, Role.ROUTER}
            | {Role.SHARED_GATE, Role.SHARED_UP, Role.SHARED_DOWN, Role.SHARED_ROUTER}
        ),
    ),
    ("experts", EXPERT_ROLES | {Role.EXPERT_LATENT}),
    ("towers", frozenset({Role.VISION, Role.PROJECTOR})),
    ("norms and others", frozenset({Role.NORM, Role.OTHER, Role.MTP})),
)
_ALIKE = 0.95  # of the same width, whatever the scales take
_NARROWER = 0.95  # a part that keeps more than this of its bytes has not been made narrower


def advise_formats(engine: Engine, asked: Case, plan: Plan) -> FormatAdvice:
    """What each scheme and each format of the cache would do, at the plan's length and layout. Raises every error of the engine."""
    case = pinned(asked, plan)
    now = settle(engine, case)
    models = tuple(_models(engine, case))
    rows = (_weights(engine, case, now, found) for found in models)
    weights = _mark_weights([row for row in rows if row is not None])
    cache = tuple(_cache(engine, now))
    return FormatAdvice(
        context_tokens=case.workload.context_tokens or 0,
        weights=weights,
        cache=_mark_cache(cache),
        components=(*_components(case.model, models), *_cache_part(cache, case)),
        notes=tuple(_notes(engine, now, weights, cache)),
    )


def _models(engine: Engine, case: Case) -> Iterator[tuple[Model, CostClass, str]]:
    """The model as it is, in its own dtype, and in every scheme that the engine reads."""
    yield case.model, cost_of(engine.profile.name, case.model), ""
    plain = in_own_dtype(case.model)
    if plain is not None:
        yield plain, CostClass.NONE, plain.checkpoint.scheme
    for row in quantisations.words_for(engine.profile.name):
        try:
            model = quantised(case.model, row.word)
        except UllageError:
            continue
        if model.checkpoint.scheme != case.model.checkpoint.scheme:
            yield model, row.cost, row.word


def _weights(engine: Engine, case: Case, now: Outcome, found: tuple[Model, CostClass, str]) -> tuple[WeightChoice, bool] | None:
    """The row, and whether it is to be had without giving anything else up."""
    model, cost, word = found
    outcome = now if not word else alternative(engine, replace(case, model=model))
    if outcome is None:
        return None
    a_token = outcome.capacity.kv_bytes_per_token
    choice = WeightChoice(
        word=word,
        scheme=model.checkpoint.scheme,
        weight_bytes=model.checkpoint.nbytes,
        freed_bytes=case.model.checkpoint.nbytes - model.checkpoint.nbytes,
        device_freed_bytes=_on_fullest(now) - _on_fullest(outcome),
        cost=cost,
        cache_bytes_per_token=a_token,
        changes_cache=a_token != now.capacity.kv_bytes_per_token,
        verdict=outcome.verdict,
        max_context_tokens=reachable(outcome),
        changes=changes(case, outcome),
    )
    return choice, not gives_up(engine, case, outcome)


def _on_fullest(outcome: Outcome) -> int:
    """Weights on the accelerator that holds most of them."""
    return max(weights_by_device(outcome), default=0)


def _cache(engine: Engine, now: Outcome) -> Iterator[CacheChoice]:
    """The format it has, then the narrower ones that the engine offers here."""
    yield _cache_row(now, now, "", "as it is", "none")
    for lever in engine.levers(now.case):
        if lever.cost_rank == _QUALITY_RANK and Limit.CACHE in lever.relieves:
            yield from _cache_rows(engine, now, lever)


def _cache_rows(engine: Engine, now: Outcome, lever: Lever) -> Iterator[CacheChoice]:
    for value in lever.values:
        outcome = alternative(engine, apply_lever(now.asked, lever, value))
        if outcome is not None and outcome.capacity.kv_bytes_per_token < now.capacity.kv_bytes_per_token:
            yield _cache_row(now, outcome, lever.setting, str(value), lever.cost)


def _cache_row(now: Outcome, outcome: Outcome, setting: str, value: str, cost: str) -> CacheChoice:
    a_token, work = outcome.capacity.kv_bytes_per_token, now.case.workload
    tokens = (work.context_tokens or 0) * work.concurrent_sequences
    return CacheChoice(
        setting=setting,
        value=value,
        bytes_per_token=a_token,
        freed_bytes=(now.capacity.kv_bytes_per_token - a_token) * tokens,
        cost=cost,
        verdict=outcome.verdict,
        kv_tokens=outcome.capacity.kv_tokens.expected,
        max_context_tokens=reachable(outcome),
    )


def _mark_weights(rows: list[tuple[WeightChoice, bool]]) -> tuple[WeightChoice, ...]:
    """The widest of those with the best verdict, if that is one that runs, and of alike ones the first."""
    runs = [(row, is_free) for row, is_free in rows if row.verdict.rank <= Verdict.TIGHT.rank]
    best = min(((row.verdict.rank, not is_free) for row, is_free in runs), default=None)
    of_best = [row for row, is_free in runs if (row.verdict.rank, not is_free) == best]
    most = max((row.weight_bytes for row in of_best), default=0)
    widest = next((row for row in of_best if row.weight_bytes >= _ALIKE * most), None)
    return tuple(replace(row, is_widest=row is widest) for row, _ in rows)


def _mark_cache(rows: tuple[CacheChoice, ...]) -> tuple[CacheChoice, ...]:
    best = min((row.verdict.rank for row in rows), default=Verdict.REFUSED.rank)
    if best > Verdict.TIGHT.rank:
        return rows
    widest = max((row for row in rows if row.verdict.rank == best), key=lambda row: row.bytes_per_token)
    return tuple(replace(row, is_widest=row is widest) for row in rows)


def _part_bytes(checkpoint: Checkpoint) -> dict[str, int]:
    return {name: sum(tensor.nbytes for tensor in checkpoint.tensors if tensor.role in roles) for name, roles in _PARTS}


def _components(model: Model, models: tuple[tuple[Model, CostClass, str], ...]) -> Iterator[Component]:
    """Every part with its bytes, and what it would be in the widest scheme of the engine that makes it narrower."""
    sizes = _part_bytes(model.checkpoint)
    others = sorted(
        ((found, _part_bytes(found[0].checkpoint)) for found in models if found[2]), key=lambda pair: -pair[0][0].checkpoint.nbytes
    )
    for name, roles in _PARTS:
        if not sizes[name]:
            continue
        step = next((pair for pair in others if pair[1][name] < _NARROWER * sizes[name]), None)
        narrower = f"{step[0][0].checkpoint.scheme} ({step[0][1]})" if step else ""
        frees = sizes[name] - step[1][name] if step else 0
        yield Component(name=name, nbytes=sizes[name], bits=_bits(model, roles, sizes[name]), narrower=narrower, frees_bytes=frees)


def _bits(model: Model, roles: frozenset[Role], nbytes: int) -> float | None:
    """Bits a weight, from the shapes before the scheme; packed files alone do not tell."""
    plain = model.unquantised or model.checkpoint
    is_packed = model.unquantised is None and any(tensor.part is Part.SCALE for tensor in model.checkpoint.tensors)
    elements = sum(tensor.elements for tensor in plain.tensors if tensor.role in roles)
    return None if is_packed or not elements else 8 * nbytes / elements


def _cache_part(cache: tuple[CacheChoice, ...], case: Case) -> Iterator[Component]:
    now, *narrower = cache
    tokens = (case.workload.context_tokens or 0) * case.workload.concurrent_sequences
    step = max(narrower, key=lambda row: row.bytes_per_token, default=None)
    name = f"cache of {case.workload.concurrent_sequences} x {format_count(case.workload.context_tokens or 0)} tokens"
    yield Component(
        name=name,
        nbytes=now.bytes_per_token * tokens,
        bits=None,
        narrower=f"{step.setting}={step.value} (quality)" if step else "",
        frees_bytes=step.freed_bytes if step else 0,
    )


def _notes(engine: Engine, now: Outcome, weights: tuple[WeightChoice, ...], cache: tuple[CacheChoice, ...]) -> Iterator[str]:
    a_token = format_count(now.capacity.kv_bytes_per_token)
    if not any(row.changes_cache for row in weights):
        yield f"a weight-only scheme frees weights only: a token keeps {a_token} bytes in the cache under every one of them"
    if len(cache) > 1:
        yield f"what a token keeps is changed by the format of the cache alone ({cache[1].setting})"
    else:
        yield f"{engine.profile.title} offers no narrower cache here: what a token keeps stays {a_token} bytes"
    if len(weights) == 1:
        yield "no other scheme of these weights can be worked out: give the unquantised model to compare schemes"
