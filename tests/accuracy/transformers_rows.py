"""Reports and published tables about Transformers as questions.

The figures of the tables are sums over devices of what PyTorch's allocator counted, so the driver's context is left out. The tables
made with 4.38 and 4.46 state the peak. The one made with 4.51.3 states what lies there while tokens are made: from 6,144 to 30,720 input
tokens its figures grow by the cache's bytes to the mebibyte, and no prompt can run in that; so the decoding phase is compared.
"""

import re
from dataclasses import replace

from tests.accuracy.cases_of_rows import Asked, Unjudged
from tests.accuracy.fleets_of_rows import fleet_of
from tests.accuracy.models_of_rows import Found, model_of
from tests.accuracy.parts_of_plans import gib_cell, of_purposes
from tests.accuracy.release_days import TRANSFORMERS
from tests.accuracy.releases import Release, release_of
from tests.accuracy.rows import Row

from ullage import engines
from ullage.domain.case import Case, Settings, Value
from ullage.domain.ledger import Amount, Ledger, Phase, Purpose, total
from ullage.domain.placement import Parallel
from ullage.domain.workload import Workload
from ullage.planning.fit import Outcome

DECODING = (4, 51, 3)
KNOWN = re.compile(r"transformers(?: \(auto-gptq\)| \(fastchat\)| \+ accelerate)?", re.IGNORECASE)
_INPUT, _ANSWER, _BATCH = (re.compile(pattern) for pattern in (r"input (\d+) tokens", r"generate (\d+)", r"batch (\d+)"))
_LOADED, _LONG = 64, 4096  # tokens of a report that only loaded the model; a long text where none is said
_EITHER_UNIT = 1.0737  # a GB that may be of 1000^3 or 1024^3 bytes
NEEDS = {"total": frozenset({"version", "max_model_len"}), "weights": frozenset[str]()}


def read(row: Row) -> Asked | Unjudged:
    """The question, or why there is none."""
    if not KNOWN.fullmatch(row.text("engine")):
        return Unjudged(row=row, why="engine not known: kernels of GPTQ-for-LLaMa")
    if row.text("kv_cache_dtype") == "int8":
        return Unjudged(row=row, why="a cache quantised by the model's own code")
    release = _release(row)
    if release is None:
        return Unjudged(row=row, why="version unknown")
    model = model_of(_published(row))
    if isinstance(model, str):
        return Unjudged(row=row, why=model)
    fleet = fleet_of(row, row.whole("n_gpus") or 1)
    if isinstance(fleet, str):
        return Unjudged(row=row, why=fleet)
    settings, flags = _settings(row, release, model), row.text("other_flags")
    case = Case(
        model=model.model,
        engine="transformers",
        version=release.version,
        machine=fleet.machine,
        parallel=Parallel(pipeline=1 if settings["device_map"] == "cuda" else len(fleet.machine.devices)),
        workload=_workload(row),
        settings=Settings.of(settings),
    )
    silent_length = not (row.number("max_model_len") or _ANSWER.search(flags) or row.number("weights_gib") or "after load" in flags)
    return Asked(
        row=row,
        engine=engines.find("transformers"),
        case=case,
        variants=(replace(case, workload=Workload(context_tokens=_LONG)),) if silent_length else (),
        silent=frozenset(({"version"} if not release.named else set()) | ({"max_model_len"} if silent_length else set())),
        rough=model.rough,
        unsized=not fleet.sized,
    )


def _release(row: Row) -> Release | None:
    """The release that a table names among the packages it was made with; those before the oldest known go by that one's rules."""
    words = row.text("engine_version")
    named = re.search(r"transformers (\d[\d.]*\d)|about [\d.]+-(\d[\d.]*\d)|^(\d\.\d+)", words)
    text = next((part for part in named.groups() if part), "") if named else ""
    found = release_of(text, row.text("date") or "2022", TRANSFORMERS)
    oldest = engines.find("transformers").profile.oldest
    if found is None or found.version < oldest:
        return Release(version=oldest, named=False)
    return Release(version=found.version, named=bool(text))


def _published(row: Row) -> Row:
    """A block-wise FP8 file is what the tables call FP8, and 8 bits without a name are those of bitsandbytes."""
    words = row.text("revision_or_quant")
    meant = {"FP8": "fp8-block", "8bit": "bitsandbytes 8bit"}.get(words, words)
    return Row(tuple((name, meant if name == "revision_or_quant" else value) for name, value in row.cells))


def _settings(row: Row, release: Release, model: Found) -> dict[str, Value]:
    """The benchmark scripts ask for device_map and flash attention; AutoAWQ had none for the table made with 4.51.3."""
    tabled = row.text("thread").startswith("QwenLM/") and "benchmark" in row.text("thread")
    flags = row.text("other_flags")
    single = 'device_map="cuda"' in flags or ".cuda()" in flags
    found: dict[str, Value] = {"dtype": model.dtype or "auto", "device_map": "cuda" if single else "auto"}
    if tabled or "flash" in f"{flags} {row.text('engine_version')}".lower():
        own = release.version.parts == DECODING and "AWQ" in row.text("revision_or_quant")
        found["attn_implementation"] = "sdpa" if own else "flash_attention_2"
    return found


def _workload(row: Row) -> Workload:
    """Prompt and answer as said; a report of what lies there after loading runs nothing."""
    prompt, answer, batch = (pattern.search(row.text("other_flags")) for pattern in (_INPUT, _ANSWER, _BATCH))
    rows = int(batch[1]) if batch else 1
    if answer is None:
        return Workload(context_tokens=row.whole("max_model_len") or _LOADED, concurrent_sequences=rows)
    before = int(prompt[1]) if prompt else 1
    return Workload(context_tokens=before + int(answer[1]), prompt_tokens=before, concurrent_sequences=rows)


def measures(row: Row, outcome: Outcome) -> dict[str, tuple[float | None, Amount]]:
    """What the allocator counted over all devices; the driver's context belongs to it only where a management tool was read."""
    case = outcome.case
    ids = [device.id for device in case.machine.devices]
    tool = row.text("scope") == "total_used"
    kept = outcome.ledger.entries if tool else tuple(e for e in outcome.ledger.entries if e.purpose is not Purpose.RUNTIME)
    ledger = Ledger(entries=kept, joins=outcome.ledger.joins)
    if tool and "after load" in row.text("other_flags"):
        amounts = [ledger.at(device, Phase.RESIDENT) for device in ids]
    elif case.version.parts == DECODING:
        amounts = [ledger.at(device, Phase.DECODE) for device in ids]
    else:
        amounts = [ledger.peak(device) for device in ids]
    found = {"total": total(amounts), "weights": of_purposes(outcome, [Purpose.WEIGHTS], ids)}
    if "unit base not stated" in row.text("notes"):
        found = {name: Amount(each.low, each.expected, int(each.high * _EITHER_UNIT)) for name, each in found.items()}
    return {name: (gib_cell(row, column), found[name]) for name, column in (("total", "total_used_gib"), ("weights", "weights_gib"))}
