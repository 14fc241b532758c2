"""Reports about ExLlamaV2 and ExLlamaV3, by themselves or in TabbyAPI and textgen, as questions."""

import re
from dataclasses import replace

from tests.accuracy.cases_of_rows import Asked, Unjudged
from tests.accuracy.fleets_of_rows import fleet_of
from tests.accuracy.models_of_rows import model_of
from tests.accuracy.parts_of_plans import gib_cell
from tests.accuracy.release_days import EXLLAMAV2, EXLLAMAV3
from tests.accuracy.releases import Release, neighbours, release_of
from tests.accuracy.rows import Row

from ullage import engines
from ullage.domain.case import Case, Settings, Value
from ullage.domain.ledger import Amount
from ullage.domain.placement import Parallel
from ullage.planning.fit import Outcome

LENGTHS = (2048, 4096, 8192)  # what people set where the report is silent
_CACHES = {"16-bit": "FP16", "8-bit": "FP8", "4-bit": "Q4"}  # textgen's words for the caches of ExLlamaV2
_OFFLOADED = re.compile(r"cpu_moe_offload_layers (\d+)")
_RESERVED = re.compile(r"(\d+)x(\d+) MB reserve")


def read(row: Row) -> Asked | Unjudged:
    """The question, or why there is none. What exui loads is ExLlamaV2."""
    third = "v3" in row.text("engine").lower()
    name, table = ("exllamav3", EXLLAMAV3) if third else ("exllamav2", EXLLAMAV2)
    engine = engines.find(name)
    release = release_of(row.text("engine_version"), row.text("date"), table) or Release(version=engine.profile.oldest, named=False)
    if release.version < engine.profile.oldest:  # older ones are asked by the oldest rules that are known
        release = Release(version=engine.profile.oldest, named=False)
    model = model_of(row)
    if isinstance(model, str):
        return Unjudged(row=row, why=model)
    count = row.whole("n_gpus") or 1
    fleet = fleet_of(row, count)
    if isinstance(fleet, str):
        return Unjudged(row=row, why=fleet)
    case = Case(
        model=model.model,
        engine=name,
        version=release.version,
        machine=fleet.machine,
        parallel=Parallel(pipeline=count),
        settings=Settings.of(_settings(row)),
    )
    length = row.whole("max_model_len") is not None
    silent = frozenset(({"version"} if not release.named else set()) | (set() if length else {"max_model_len"}))
    sizes = {fleet.low_bytes, fleet.high_bytes} - {0} if not fleet.reported else set()
    variants = [replace(case, version=version) for version in neighbours(case.version, table) if version >= engine.profile.oldest]
    variants += [] if length else [case.with_settings(max_seq_len=tokens) for tokens in LENGTHS]
    for size in sizes:
        devices = tuple(replace(device, total_bytes=size) for device in case.machine.devices)
        variants.append(replace(case, machine=replace(case.machine, devices=devices)))
    return Asked(row=row, engine=engine, case=case, variants=tuple(variants), silent=silent, rough=model.rough, unsized=not fleet.sized)


def _settings(row: Row) -> dict[str, Value]:
    found: dict[str, Value] = {}
    if row.whole("max_model_len"):
        found["max_seq_len"] = row.whole("max_model_len")
    if row.text("kv_cache_dtype"):
        found["cache_mode"] = _CACHES.get(row.text("kv_cache_dtype"), row.text("kv_cache_dtype"))
    offloaded, reserved = _OFFLOADED.search(row.text("other_flags")), _RESERVED.search(row.text("other_flags"))
    if offloaded:
        found["cpu_moe_offload_layers"] = int(offloaded[1])
    if reserved:
        found["autosplit_reserve"] = ",".join([reserved[2]] * int(reserved[1]))
    engine = engines.find("exllamav3" if "v3" in row.text("engine").lower() else "exllamav2")
    return {name: engine.validate(name, value) for name, value in found.items()}


def measures(row: Row, outcome: Outcome) -> dict[str, tuple[float | None, Amount]]:
    """The whole use of one card."""
    return {"total": (gib_cell(row, "total_used_gib"), outcome.devices[0].peak)}
