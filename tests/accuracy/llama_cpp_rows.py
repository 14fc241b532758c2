"""Reports about llama.cpp, its forks and the programs that carry it as questions, and what its log figures are compared with."""

import re
from dataclasses import replace

from tests.accuracy.cases_of_rows import Asked, Unjudged
from tests.accuracy.fleets_of_rows import Fleet, fleet_of
from tests.accuracy.models_of_rows import Found, model_of
from tests.accuracy.parts_of_plans import gib_cell, of_purposes
from tests.accuracy.release_days import build_of
from tests.accuracy.rows import Row

from ullage import engines
from ullage.domain.case import Case, Settings, Value
from ullage.domain.checkpoint import Role
from ullage.domain.ledger import Amount, Purpose
from ullage.domain.machine import HOST
from ullage.engines.llama_cpp.compute import buffer_on, host_inputs
from ullage.engines.llama_cpp.placement import ON_HOST, place
from ullage.engines.llama_cpp.resolve import rules
from ullage.planning.fit import Outcome
from ullage.units import GiB

CARRIERS = ("llama.cpp", "ik_llama.cpp", "ollama", "koboldcpp", "lm studio", "ipex-llm ollama", "ipex-llm llama.cpp")
_FILE, _LENGTH = frozenset({"scheme"}), frozenset({"max_model_len"})
NEEDS = {
    "weights": _FILE,
    "KV bytes": _LENGTH,
    "KV tokens": _LENGTH,
    "compute buffer": _LENGTH,
    "host": _FILE,
    "total": _FILE | _LENGTH,
    "logged total": _FILE | _LENGTH,
}
USUAL = "q4_k_m"  # what most files are where the report does not say
# Mixtures by size; a word that is none of them means the nearest, and the two beside it are possible.
_BY_SIZE = tuple(
    """
    iq1_s iq1_m iq2_xxs iq2_xs iq2_s iq2_m q2_k iq3_xxs iq3_xs iq3_s iq3_m q3_k_m q3_k_l iq4_xs q4_k_s q4_k_m q5_k_s q5_k_m q6_k q8_0
    """.split()  # noqa: SIM905 - a list of words reads best as words
)
_EXACT = re.compile(r"\b(i?q\d_(?:k_[sml]|k|\d|xs|xxs|s|m|nl))(?![a-z_])")
_PLAIN = re.compile(r"\b(?:gguf[ -])?(bf16|fp?16|fp?32)\b")
_NEAR = (
    (re.compile(r"q([2-6])_k_xl"), r"q\1_k"),  # Unsloth's dynamic mixtures
    (re.compile(r"q5_k_l"), "q5_k"),
    (re.compile(r"iq4_k\w*"), "q4_k"),  # ik_llama.cpp's own types
    (re.compile(r"d?q([2-6])_k(?:_r4|-ish)"), r"q\1_k"),
)
_FLAGS: tuple[tuple[str, str, Value | None], ...] = (  # a pattern, the setting, and its value or None for the first group
    (r"n_ubatch (\d+)", "ubatch_size", None),
    (r"-ub (\d+)", "ubatch_size", None),
    (r"-np (\d+)", "n_parallel", None),
    (r"--parallel (\d+)", "n_parallel", None),
    (r"one slot", "n_parallel", 1),
    (r"-ngl (\d+|all)", "n_gpu_layers", None),
    (r"(\d+) of \d+ layers on gpu", "n_gpu_layers", None),
    (r"no fa\b|flash_attn 0|no flash attention", "flash_attn", "off"),
    (r"(?<!no )flash att(?:ention|n)? on|(?<!no )flash attention(?! inferred)|(?:^| )-fa\b", "flash_attn", "on"),
    (r"kv_unified false", "kv_unified", False),
    (r"kv on cpu", "kv_offload", False),
    (r"exps=cpu|experts (?:partly )?(?:on )?cpu|experts on host", "cpu_moe", True),
    (r"(?:-mla|mla_attn) (\d)", "mla_attn", None),
    (r"mla no transposed cache|kv\^t not used", "mla_attn", 2),
    (r"-mla(?! \d)", "mla_attn", 1),
    (r"-amb (\d+)", "attn_max_batch", None),
    (r"--fit-target (\d+)", "fit_target", None),
    (r"draft-mtp (\d+)", "spec_draft_n_max", None),
    (r"--no-mmap", "load_mode", "none"),
)


def read(row: Row) -> Asked | Unjudged:
    """The question, or why there is none."""
    release = build_of(row.text("engine_version"), row.text("date"))
    if release is None:
        return Unjudged(row=row, why="version unknown")
    word, exact = scheme_word(row)
    model = _model(row, word)
    if isinstance(model, str):
        return Unjudged(row=row, why=model)
    fleet = fleet_of(row, row.whole("n_gpus") or 1)
    if isinstance(fleet, str):
        return Unjudged(row=row, why=fleet)
    said = _settings(row)
    case = Case(
        model=model.model,
        engine="llama_cpp",
        version=release.version,
        machine=fleet.machine,
        settings=Settings.of(said),
    )
    case = case.with_settings(**_of_ollama(row, said, case))
    silent = {"scheme"} if not exact else set()
    silent |= {"max_model_len"} if row.number("max_model_len") is None else set()
    silent |= {"version"} if not release.named else set()
    return Asked(
        row=row,
        engine=engines.find("llama_cpp"),
        case=case,
        variants=tuple(_variants(row, case, fleet, word, silent)),
        silent=frozenset(silent),
        rough=model.rough,
        unsized=_cannot_be_placed(row, fleet),
    )


def _cannot_be_placed(row: Row, fleet: Fleet) -> bool:
    """No card, an excerpt about one of several cards whose split is not told, experts partly on the host, or a host not told of."""
    partly = re.search(r"share only|partly", row.text("other_flags").lower()) is not None
    return not fleet.sized or partly or (row.text("error_kind") == "oom_host" and not fleet.host_sized)


def scheme_word(row: Row) -> tuple[str, bool]:
    """The file type that a report's words mean, and whether they mean exactly that one."""
    words = f"{row.text('revision_or_quant')} {row.text('model')}".lower()
    found = [(match.start(), match.expand(meaning), False) for pattern, meaning in _NEAR if (match := pattern.search(words))]
    match = _EXACT.search(words)
    if match:  # Unsloth gives some tensors other types than the name says
        usual = not re.search(r"\?|unsloth|\bud-", f"{words} {row.text('engine').lower()}")
        found.append((match.start(), match[1], usual))
    if found:  # of several words the first counts, and what is no usual type before what its letters begin with
        _, word, exact = min(found, key=lambda one: one[0])
        return (f"{word}_m" if word.endswith("_k") and word not in _BY_SIZE else word), exact
    plain = _PLAIN.search(words)
    if plain:
        return {"fp16": "f16", "fp32": "f32"}.get(plain[1], plain[1]), True
    return ("mxfp4", True) if "mxfp4" in words else ("", False)


def _model(row: Row, word: str) -> Found | str:
    """The model in that file type, whatever else the report's words say."""
    cells = tuple((name, f"gguf {word or USUAL}" if name == "revision_or_quant" else value) for name, value in row.cells)
    return model_of(Row(cells))


def _settings(row: Row) -> dict[str, Value]:
    """What was said; all layers go to the accelerators unless said otherwise, as the report's figures are of them."""
    found: dict[str, Value] = {"n_gpu_layers": "all"}
    for column, name in (("max_model_len", "ctx_size"), ("max_num_batched_tokens", "batch_size"), ("max_num_seqs", "n_parallel")):
        count = row.whole(column)
        found.update({name: count} if count is not None else {})
    if row.text("kv_cache_dtype"):
        found["cache_type"] = row.text("kv_cache_dtype")
    words = row.text("other_flags").lower()
    length = re.search(r"(\d+)k context", words)
    if length and "ctx_size" not in found:
        found["ctx_size"] = int(length[1]) * 1024
    for pattern, name, value in _FLAGS:
        match = re.search(pattern, words)
        if match and (name not in found or name == "n_gpu_layers"):
            found[name] = (int(match[1]) if match[1].isdigit() else match[1]) if value is None else value
    if "cpu" in row.text("revision_or_quant").lower() or "experts on host" in row.text("model").lower():
        found["cpu_moe"] = True
    if re.match(r"i?q\d", str(found.get("cache_type", ""))) and "mla_attn" not in found:
        found.setdefault("flash_attn", "on")  # without it no release keeps quantised values
    return found


def _of_ollama(row: Row, found: dict[str, Value], case: Case) -> dict[str, Value]:
    """What Ollama does beside: its files hold the tower, and since it starts llama-server its length is that of one sequence."""
    if "ollama" not in row.text("engine").lower():
        return {}
    length, slots = found.get("ctx_size"), found.get("n_parallel")
    own: dict[str, Value] = {"ollama": True}
    if any(tensor.role in {Role.VISION, Role.PROJECTOR} for tensor in case.model.checkpoint.tensors):
        own["mmproj"] = "in the file"
    if isinstance(length, int) and isinstance(slots, int) and rules(case).streams:
        own["ctx_size"] = length * slots
    return own


def _variants(row: Row, case: Case, fleet: Fleet, word: str, silent: set[str]) -> list[Case]:
    """One thing changed each: the file type beside, the card's memory, the length, flash attention, and several slots."""
    found = []
    if "scheme" in silent:
        models = (_model(row, beside) for beside in _beside(word))
        found += [replace(case, model=model.model) for model in models if not isinstance(model, str)]
    if not fleet.reported and fleet.low_bytes:
        for size in {fleet.low_bytes, fleet.high_bytes}:
            devices = tuple(replace(device, total_bytes=size) for device in case.machine.devices)
            found.append(replace(case, machine=replace(case.machine, devices=devices)))
    if "max_model_len" in silent:
        found += [case.with_settings(ctx_size=tokens) for tokens in (2048, 32768)]
    if not case.settings.has("flash_attn"):
        found += [case.with_settings(flash_attn=word) for word in ("on", "off")]
    if not case.settings.has("n_parallel") and not case.settings.flag("ollama"):
        found.append(case.with_settings(n_parallel=1))
    return found


def _beside(word: str) -> tuple[str, ...]:
    """The file types that a word may mean as well: of a word that is none, the neighbours; of no word, most."""
    if word not in _BY_SIZE:
        return ("q2_k", "q8_0")
    at = _BY_SIZE.index(word)
    return tuple(_BY_SIZE[max(0, at - 1) : at + 2])


def measures(row: Row, outcome: Outcome) -> dict[str, tuple[float | None, Amount]]:
    """Buffers as the log prints them: of the first device, or of all where the report adds them up."""
    case, summed = outcome.case, row.text("scope") == "total"
    ids = [device.id for device in case.machine.devices][: None if summed else 1]
    buffers = {"weights": (Purpose.WEIGHTS,), "KV bytes": (Purpose.KV_CACHE, Purpose.STATE)}
    logged = (Purpose.WEIGHTS, Purpose.KV_CACHE, Purpose.STATE, Purpose.ACTIVATIONS)
    everywhere = [device.id for device in case.machine.devices]
    one = re.search(r"\((?:cuda|sycl|rocm)(\d+)\)", row.text("scope").lower())  # the figures are of one card of several
    if one:
        ids = everywhere[int(one[1]) :][:1]
    kv = case.settings.flag("kv_offload") is False
    weights = of_purposes(outcome, buffers["weights"], ids)
    if "memory.weights" in row.text("quote"):  # Ollama's own sum counts the token table too
        weights += Amount.exactly(place(case).weights_on(ON_HOST))
    cut = re.search(r"cache part only", row.text("other_flags"))  # the report ends before the other caches
    if one:
        every = [of_purposes(outcome, buffers["weights"], [device]).expected for device in everywhere]
        weights = Amount(min(every), weights.expected, max(every))
    counted = not summed or row.number("n_gpus") is not None
    return {
        "weights": (gib_cell(row, "weights_gib") if counted else None, weights),
        "KV bytes": (gib_cell(row, "kv_cache_gib") if not cut else None, of_purposes(outcome, buffers["KV bytes"], ids)),
        "KV tokens": (row.number("kv_tokens"), outcome.capacity.kv_tokens),
        "compute buffer": (gib_cell(row, "activation_peak_gib"), buffer_on(case, ids[0]).amount),
        "host": (gib_cell(row, "host_mem_gib"), of_purposes(outcome, buffers["KV bytes"], [HOST]) if kv else _host(row, case)),
        "total": (gib_cell(row, "total_used_gib"), of_purposes(outcome, logged, everywhere)),
        "logged total": (_logged(row), of_purposes(outcome, logged, ids)),
    }


def _logged(row: Row) -> float | None:
    """Model, cache and compute buffers together, where a report of one device has them all."""
    parts = [row.number(name) for name in ("weights_gib", "kv_cache_gib", "activation_peak_gib")]
    known = [part for part in parts if part is not None]
    return sum(known) * GiB if len(known) == len(parts) and row.text("scope") == "per_gpu" else None


def _host(row: Row, case: Case) -> Amount:
    """Of the host's buffers those that the quoted line is about: weights, the compute buffer, or both."""
    quote = row.text("quote").lower()
    weights, compute = Amount.exactly(place(case).weights_on(ON_HOST)), host_inputs(case)
    if re.search(r"host \d+ =", quote):
        return weights + compute
    return compute if "host compute" in quote else weights
