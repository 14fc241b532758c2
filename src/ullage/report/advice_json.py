"""Comparison and advice for programs: further keys of ``ullage.plan/1``."""

from ullage.domain.advice import Advice, Candidate, CardChoice, Comparison, FormatAdvice, HardwareAdvice, ModelAdvice
from ullage.domain.hyperparameters import Json
from ullage.domain.placement import Parallel


def comparison_values(comparison: Comparison) -> dict[str, Json]:
    """What stands under ``compare``."""
    return {
        "context_tokens": comparison.context_tokens,
        "concurrent_sequences": comparison.concurrent_sequences,
        "objective": comparison.objective,
        "candidates": [_candidate(row) for row in comparison.candidates],
        "refused": [{"engine": one.engine, "version": one.version, "scheme": one.scheme, "why": one.why} for one in comparison.refused],
    }


def advice_values(advice: Advice) -> dict[str, Json]:
    """What stands under ``advice``: only what was asked for."""
    values: dict[str, Json] = {}
    if advice.formats is not None:
        values["quant"] = _formats(advice.formats)
    if advice.hardware is not None:
        values["hardware"] = _hardware(advice.hardware)
    if advice.models is not None:
        values["models"] = _models(advice.models)
    return values


def _layout(parallel: Parallel) -> dict[str, Json]:
    return {"tensor": parallel.tensor, "pipeline": parallel.pipeline, "data": parallel.data, "expert": parallel.expert}


def _candidate(row: Candidate) -> dict[str, Json]:
    return {
        "engine": row.engine,
        "version": row.version,
        "quant": row.word or None,
        "scheme": row.scheme,
        "cost": row.cost.value,
        "layout": _layout(row.parallel),
        "verdict": row.verdict.value,
        "weight_bytes": row.weight_bytes,
        "kv_bytes_per_token": row.kv_bytes_per_token,
        "max_context_tokens": row.max_context_tokens,
        "max_sequences": row.max_sequences,
        "room_bytes": row.room_bytes,
        "changes": dict(row.changes),
    }


def _formats(advice: FormatAdvice) -> dict[str, Json]:
    weights: list[Json] = [
        {
            "quant": row.word or None,
            "scheme": row.scheme,
            "weight_bytes": row.weight_bytes,
            "freed_bytes": row.freed_bytes,
            "device_freed_bytes": row.device_freed_bytes,
            "cost": row.cost.value,
            "kv_bytes_per_token": row.cache_bytes_per_token,
            "changes_cache": row.changes_cache,
            "verdict": row.verdict.value,
            "max_context_tokens": row.max_context_tokens,
            "changes": dict(row.changes),
            "is_widest": row.is_widest,
        }
        for row in advice.weights
    ]
    cache: list[Json] = [
        {
            "setting": row.setting or None,
            "value": row.value,
            "kv_bytes_per_token": row.bytes_per_token,
            "freed_bytes": row.freed_bytes,
            "cost": row.cost,
            "verdict": row.verdict.value,
            "kv_tokens": row.kv_tokens,
            "max_context_tokens": row.max_context_tokens,
            "is_widest": row.is_widest,
        }
        for row in advice.cache
    ]
    components: list[Json] = [
        {"name": part.name, "bytes": part.nbytes, "bits": part.bits, "narrower": part.narrower or None, "frees_bytes": part.frees_bytes}
        for part in advice.components
    ]
    return {
        "context_tokens": advice.context_tokens,
        "weights": weights,
        "cache": cache,
        "components": components,
        "notes": list(advice.notes),
    }


def _card(row: CardChoice) -> dict[str, Json]:
    return {
        "cards": list(row.names),
        "count": row.count,
        "total_nominal_gb": row.total_nominal_gb,
        "layout": _layout(row.parallel),
        "room_bytes": row.room_bytes,
        "max_context_tokens": row.max_context_tokens,
        "max_sequences": row.max_sequences,
        "changes": dict(row.changes),
    }


def _hardware(advice: HardwareAdvice) -> dict[str, Json]:
    return {
        "context_tokens": advice.context_tokens,
        "concurrent_sequences": advice.concurrent_sequences,
        "cards": [_card(row) for row in advice.cards],
        "largest_count": advice.largest_count,
        "too_small": list(advice.too_small),
    }


def _models(advice: ModelAdvice) -> dict[str, Json]:
    return {
        "context_tokens": advice.context_tokens,
        "concurrent_sequences": advice.concurrent_sequences,
        "scheme": advice.scheme,
        "kv_bytes_per_token": advice.kv_bytes_per_token,
        "models": [
            {
                "name": row.name,
                "parameters": row.parameters,
                "weight_bytes": row.weight_bytes,
                "kv_bytes_per_token": row.kv_bytes_per_token,
                "same_family": row.is_related,
                "verdict": row.verdict.value,
                "max_context_tokens": row.max_context_tokens,
                "max_sequences": row.max_sequences,
            }
            for row in advice.models
        ],
    }
