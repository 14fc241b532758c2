"""Reports about KTransformers, the classic server and kt-kernel in its fork of SGLang, as questions."""

import re

from tests.accuracy.cases_of_rows import Asked, Unjudged
from tests.accuracy.fleets_of_rows import UNNAMED, fleet_of
from tests.accuracy.models_of_rows import model_of
from tests.accuracy.parts_of_plans import gib_cell, of_purposes
from tests.accuracy.releases import release_of
from tests.accuracy.rows import Row
from tests.accuracy.sglang_rows import per_token, settings_of, silent_of, variants

from ullage import engines
from ullage.domain.case import Case, Settings, Value, Version
from ullage.domain.ledger import Amount, Purpose, amount_of
from ullage.domain.machine import HOST
from ullage.domain.placement import Parallel
from ullage.engines.ktransformers.settings import CLASSIC, GGUF_TYPES, KT_KERNEL, KT_METHODS
from ullage.engines.ktransformers.versions import TAGGED
from ullage.engines.sglang.versions import LOADING
from ullage.planning.fit import Outcome

NEEDS = {"weights": frozenset({"scheme"}), "host": frozenset({"scheme"}), "bytes a token": frozenset[str]()}
_NEW = (0, 4)
_SERVING = (0, 2, 4)
_CACHE = re.compile(r"cache_lens (\d+)")
_TOKENS = re.compile(r"--(max_new_tokens|cpu_infer) (\d+)")


def read(row: Row) -> Asked | Unjudged:
    """The question, or why there is none."""
    release = release_of(row.text("engine_version").replace("kt-kernel", ""), row.text("date"), TAGGED)
    if release is None:
        return Unjudged(row=row, why="version unknown")
    new = release.version.parts >= _NEW
    model = model_of(_unquantised(row))
    if isinstance(model, str):
        return Unjudged(row=row, why=model)
    count = row.whole("n_gpus") or 1
    fleet = fleet_of(row, count)
    if isinstance(fleet, str):
        return Unjudged(row=row, why=fleet)
    said = _kernel(row, release.version) if new else _classic(row)
    case = Case(
        model=model.model,
        engine="ktransformers",
        version=release.version,
        machine=fleet.machine,
        parallel=Parallel(tensor=row.whole("tp") or count) if new else Parallel(pipeline=count),
        settings=Settings.of(said),
        stated=frozenset(said),
    )
    silent = silent_of(row, release, model, fleet) if new else _left_out(row, said, named=release.named)
    return Asked(
        row=row,
        engine=engines.find("ktransformers"),
        case=case,
        variants=(*variants(case, fleet, silent, _same_product(TAGGED, new=new)), *(() if new else _lengths(case, silent))),
        silent=silent,
        rough=model.rough,
        unsized=not fleet.sized or (row.text("error_kind") == "oom_host" and not fleet.host_sized),
    )


def _left_out(row: Row, said: dict[str, Value], *, named: bool) -> frozenset[str]:
    """What a report about the classic server does not say."""
    missing = {"max_model_len"} if "cache_lens" not in said else set()
    missing |= {"scheme"} if "gguf_type" not in said and "fp8" not in row.text("revision_or_quant").lower() else set()
    return frozenset(missing | ({"version"} if not named else set()))


def _same_product(table: tuple[tuple[str, str], ...], *, new: bool) -> tuple[tuple[str, str], ...]:
    return tuple(entry for entry in table if (tuple(int(part) for part in entry[0].split(".")) >= _NEW) is new)


def _unquantised(row: Row) -> Row:
    """The model as published: what its experts are made into for the CPU is a setting of the engine."""
    kept = "" if re.search(r"cpu|gguf|q\d_k", row.text("revision_or_quant").lower()) else row.text("revision_or_quant")
    return Row(tuple((name, kept if name == "revision_or_quant" else value) for name, value in row.cells))


def _experts(row: Row, known: tuple[str, ...]) -> str | None:
    words = re.findall(r"[a-z0-9_]+", row.text("revision_or_quant").lower())
    return next((word for word in known if word.lower() in words), None)


def _lengths(case: Case, silent: frozenset[str]) -> tuple[Case, ...]:
    """Where no length is said: one of the lengths its documents use, and the server of several requests."""
    if "max_model_len" not in silent:
        return ()
    serving = case.version.parts >= _SERVING
    others = [case.with_settings(cache_lens=length) for length in (4096, 32768)]
    return (*others, *((case.with_settings(backend_type="balance_serve"),) if serving else ()))


def _kernel(row: Row, at: Version) -> dict[str, Value]:
    settings, _ = settings_of(row, "ktransformers", at)
    found = {name: value for name, value in settings.items if name in KT_KERNEL}
    method = _experts(row, KT_METHODS)
    return {**found, **({"kt_method": method} if method else {})}


def _classic(row: Row) -> dict[str, Value]:
    words = row.text("other_flags")
    found: dict[str, Value] = {name: int(value) for name, value in _TOKENS.findall(words) if name in CLASSIC}
    length = row.whole("max_model_len") or next((int(value) for value in _CACHE.findall(words)), None)
    if length:
        found["cache_lens"] = length
    kind = _experts(row, GGUF_TYPES)
    if kind:
        found["gguf_type"] = kind
    if re.search(r"fp8 (?:attention|kernel)", f"{row.text('revision_or_quant')} {row.text('engine_version')}".lower()):
        found["generate_op"] = "KLinearFP8"
    return found


def measures(row: Row, outcome: Outcome) -> dict[str, tuple[float | None, Amount]]:
    """Of the first card, and of the host. The log's weights are a difference of free memory, as SGLang's."""
    case = outcome.case
    first, named = case.machine.devices[0].id, case.machine.devices[0].name != UNNAMED
    state = of_purposes(outcome, [Purpose.KV_CACHE], [first])
    return {
        "weights": (gib_cell(row, "weights_gib"), of_purposes(outcome, [Purpose.WEIGHTS], [first]) + amount_of(LOADING)),
        "KV bytes": (gib_cell(row, "kv_cache_gib") if named else None, state),
        "KV tokens": (row.number("kv_tokens") if named else None, outcome.capacity.kv_tokens),
        "bytes a token": per_token(row, outcome),
        "total": (gib_cell(row, "total_used_gib"), outcome.ledger.peak(first)),
        "host": (gib_cell(row, "host_mem_gib"), outcome.ledger.peak(HOST)),
    }
