"""Reports about IPEX-LLM and BigDL-LLM as questions; those about their builds of ollama and llama.cpp belong to other engines."""

import re
from dataclasses import replace

from tests.accuracy.cases_of_rows import Asked, Unjudged
from tests.accuracy.machines_of_rows import machine_of
from tests.accuracy.models_of_rows import Found, model_of
from tests.accuracy.parts_of_plans import gib_cell
from tests.accuracy.rows import Row

from ullage import engines
from ullage.domain.case import Case, Settings, Value, Version
from ullage.domain.ledger import Amount
from ullage.domain.placement import Parallel
from ullage.domain.workload import Workload
from ullage.engines.ipex_llm.versions import RENAMED
from ullage.planning.fit import Outcome

_BUILD = re.compile(r"(2\.\d\.\d)(?:b(\d{8}))?")
_LENGTHS = re.compile(r"(\d+) in (\d+) out")
_DAY = 10  # 2024-09-14
_PACKED = (("int4", "sym_int4"), ("fp8", "fp8"), ("int8", "sym_int8"), ("fp16", "fp16"))
_SERVED = ("gpu_memory_utilization", "max_model_len", "max_num_seqs", "max_num_batched_tokens", "block_size")


def read(row: Row) -> Asked | Unjudged:
    """The question, or why there is none."""
    name = row.text("engine").lower()
    if "ollama" in name or "llama.cpp" in name:
        return Unjudged(row=row, why="another engine's build")
    served = "vllm" in name
    model = model_of(row)
    if isinstance(model, str):
        return Unjudged(row=row, why=model)
    cards = row.whole("tp") or row.whole("n_gpus") or 1
    machine = machine_of(row, cards)
    if isinstance(machine, str):
        return Unjudged(row=row, why=machine)
    version, day = _version(row)
    settings: dict[str, Value] = {"mode": "vllm" if served else "api", **_packing(row, model)}
    settings.update({"build_date": day} if day else {})
    settings.update(_stated(row) if served else {})
    case = Case(
        model=model.model,
        engine="ipex_llm",
        version=version,
        machine=replace(machine.machine),
        parallel=Parallel(tensor=cards) if served else Parallel(pipeline=cards),
        workload=Workload() if served else _workload(row),
        settings=Settings.of(settings),
        stated=frozenset(settings),
    )
    return Asked(row=row, engine=engines.find("ipex_llm"), case=case, rough=model.rough)


def _version(row: Row) -> tuple[Version, str | None]:
    """The build where the report names one, else the day of the report."""
    match = _BUILD.search(row.text("engine_version"))
    day = row.text("date")
    if match is not None:
        return Version(tuple(int(part) for part in match[1].split(".")), match[0]), None
    release = "2.5.0" if day < RENAMED else "2.1.0"
    return Version(tuple(int(part) for part in release.split(".")), release), day if len(day) == _DAY else None


def _packing(row: Row, model: Found) -> dict[str, Value]:
    words = row.text("revision_or_quant").lower()
    word = next((meaning for text, meaning in _PACKED if text in words), None)
    own = model.model.is_quantised and model.model.unquantised is None
    return {"load_in_low_bit": word} if word is not None and not own else {}


def _stated(row: Row) -> dict[str, Value]:
    found = {name: row.number(name) for name in _SERVED}
    return {name: value if name == "gpu_memory_utilization" else int(value) for name, value in found.items() if value is not None}


def _workload(row: Row) -> Workload:
    match, context = _LENGTHS.search(row.text("other_flags")), row.whole("max_model_len")
    if match is not None:
        return Workload(context_tokens=int(match[1]) + int(match[2]), prompt_tokens=int(match[1]))
    return Workload(context_tokens=context)


def measures(row: Row, outcome: Outcome) -> dict[str, tuple[float | None, Amount]]:
    """The whole use of one card."""
    return {"total": (gib_cell(row, "total_used_gib"), outcome.devices[0].peak)}
