"""Reports about SGLang as questions, and what its log figures are compared with."""

import re
from dataclasses import replace

from tests.accuracy.cases_of_rows import Asked, Unjudged
from tests.accuracy.fleets_of_rows import UNNAMED, Fleet, fleet_of
from tests.accuracy.models_of_rows import Found, model_of
from tests.accuracy.parts_of_plans import gib_cell, of_purposes
from tests.accuracy.release_days import SGLANG
from tests.accuracy.releases import Release, neighbours, release_of
from tests.accuracy.rows import Row

from ullage import engines
from ullage.domain.case import Case, Settings, Value, Version
from ullage.domain.ledger import Amount, Purpose
from ullage.domain.placement import Parallel
from ullage.engines.sglang.ranks import ranks
from ullage.planning.fit import Outcome

COLUMNS = (
    ("gpu_memory_utilization", "mem_fraction_static"),
    ("max_model_len", "context_length"),
    ("max_num_seqs", "max_running_requests"),
    ("max_num_batched_tokens", "chunked_prefill_size"),
    ("block_size", "page_size"),
)
_PHRASES: tuple[tuple[str, str, Value | None], ...] = (  # a pattern, the setting, and its value or None for the number in it
    (r"\(dp attention", "enable_dp_attention", True),
    (r"\bdeepep\b", "moe_a2a_backend", "deepep"),
    (r"\b(?:mtp|eagle)\b[^,;]*enabled", "speculative_algorithm", "EAGLE"),
    (r"capture bs (\d+)", "cuda_graph_max_bs", None),
)
_ELSEWHERE = r"\b(?:model|tp)\b[^;,(]*not in (?:the )?excerpt"  # what was collected does not name the model, or its ranks
FRACTIONS = (0.7, 0.95)  # the least and the most that reports state


def read(row: Row) -> Asked | Unjudged:
    """The question, or why there is none."""
    release = release_of(row.text("engine_version"), row.text("date"), SGLANG)
    if release is None:
        return Unjudged(row=row, why="version unknown")
    model = model_of(row)
    if isinstance(model, str):
        return Unjudged(row=row, why=model)
    pipeline = row.whole("pp") or 1
    tensor = row.whole("tp") or max(1, (row.whole("n_gpus") or 1) // pipeline)
    fleet = fleet_of(row, tensor * pipeline)
    if isinstance(fleet, str):
        return Unjudged(row=row, why=fleet)
    settings, environment = settings_of(row, "sglang", release.version)
    case = Case(
        model=model.model,
        engine="sglang",
        version=release.version,
        machine=fleet.machine,
        parallel=Parallel(tensor=tensor, pipeline=pipeline),
        settings=settings,
        environment=environment,
    )
    silent = silent_of(row, release, model, fleet)
    return Asked(
        row=row,
        engine=engines.find("sglang"),
        case=case,
        variants=variants(case, fleet, silent, SGLANG),
        silent=silent,
        rough=model.rough or re.search(_ELSEWHERE, row.text("notes").lower()) is not None,
        unsized=not fleet.sized,
    )


def silent_of(row: Row, release: Release, model: Found, fleet: Fleet) -> frozenset[str]:
    """What the report leaves out of all that sizes the pool; the length does not, and its default is the model's."""
    missing = {column for column, _ in COLUMNS[:4] if row.number(column) is None} - {"max_model_len"}
    missing |= {"version"} if not release.named else set()
    missing |= {"gpu_mem_gib_reported"} if not fleet.reported else set()
    return frozenset(missing | ({"scheme"} if not model.scheme_named and not model.model.is_quantised else set()))


def settings_of(row: Row, engine: str, version: Version) -> tuple[Settings, tuple[tuple[str, str], ...]]:
    """Columns, phrases, and options written as such, read as the engine reads them."""
    numbers = {name: row.number(column) for column, name in COLUMNS}
    found: dict[str, Value] = {name: value if value < 1 else int(value) for name, value in numbers.items() if value is not None}
    if row.text("kv_cache_dtype") not in {"", "bfloat16", "auto"}:
        found["kv_cache_dtype"] = row.text("kv_cache_dtype")
    words = f"{row.text('other_flags')} {row.text('dp_or_ep')} {row.text('revision_or_quant')}"
    for pattern, name, value in _PHRASES:
        match = re.search(pattern, words.lower())
        if match:
            found[name] = int(match[1]) if value is None else value
    data = re.match(r"(\d+) \(dp attention", row.text("dp_or_ep"))
    if data:
        found["dp_size"] = int(data[1])
    options = re.findall(r"--[a-z][a-z0-9-]+(?:[ =][^\s,;(-][^\s,;]*)?", row.text("other_flags"))
    argv = tuple(part for option in options for part in option.replace("=", " ").split())
    request = engines.find(engine).read_command(("python", "-m", "sglang.launch_server", "--model-path", "model", *argv), {}, version)
    written = dict(request.settings.items) if request else {}
    return Settings.of({**found, **{name: value for name, value in written.items() if name not in {"model", "tp_size"}}}), ()


def variants(case: Case, fleet: Fleet, silent: frozenset[str], table: tuple[tuple[str, str], ...]) -> tuple[Case, ...]:
    """One silent thing changed each: the card's memory, the fraction, the release."""
    found = []
    if fleet.low_bytes and not fleet.reported:
        for size in {fleet.low_bytes, fleet.high_bytes}:
            devices = tuple(replace(device, total_bytes=size) for device in case.machine.devices)
            found.append(replace(case, machine=replace(case.machine, devices=devices)))
    if "gpu_memory_utilization" in silent:
        found += [case.with_settings(mem_fraction_static=fraction) for fraction in FRACTIONS]
    if "version" in silent:
        found += [replace(case, version=version) for version in neighbours(case.version, table)]
    return tuple(found)


def measures(row: Row, outcome: Outcome) -> dict[str, tuple[float | None, Amount]]:
    """Of one rank, as its log says. What fills a card is compared only where the report names the card."""
    case, capacity = outcome.case, outcome.capacity
    rank = ranks(case)[0]
    named = case.machine.devices[0].name != UNNAMED
    return {
        "weights": (gib_cell(row, "weights_gib"), rank.loaded),
        "graphs": (gib_cell(row, "cuda_graph_gib"), of_purposes(outcome, [Purpose.GRAPHS], [rank.device.id])),
        "KV bytes": (gib_cell(row, "kv_cache_gib") if named else None, capacity.kv_cache_bytes),
        "KV tokens": (row.number("kv_tokens") if named else None, capacity.kv_tokens),
        "bytes a token": per_token(row, outcome),
    }


def per_token(row: Row, outcome: Outcome) -> tuple[float | None, Amount]:
    """Cache bytes of one token on one device, where a report has both figures."""
    nbytes, tokens, found = gib_cell(row, "kv_cache_gib"), row.number("kv_tokens"), outcome.capacity
    each = found.kv_cache_bytes.expected // max(1, found.kv_tokens.expected)
    return (nbytes / tokens if nbytes and tokens else None), Amount(each * 99 // 100, each, each * 101 // 100)
