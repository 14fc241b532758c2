"""Reports about vLLM as questions, and what its log figures are compared with."""

import re
from dataclasses import replace

from tests.accuracy.cases_of_rows import Asked, Unjudged
from tests.accuracy.machines_of_rows import Found as FoundMachine
from tests.accuracy.machines_of_rows import machine_of
from tests.accuracy.models_of_rows import Found as FoundModel
from tests.accuracy.models_of_rows import model_of
from tests.accuracy.releases import VLLM, Release, neighbours, release_of
from tests.accuracy.rows import Row
from tests.accuracy.scores import adds_up

from ullage import engines
from ullage.domain.case import Case, Settings, Value
from ullage.domain.ledger import Amount
from ullage.domain.machine import Machine
from ullage.domain.placement import Parallel
from ullage.engines.vllm import overhead
from ullage.engines.vllm.activation import Peak, profile_peak
from ullage.engines.vllm.shards import rank_weights
from ullage.engines.vllm.versions import Core, core_of
from ullage.planning.fit import Outcome
from ullage.units import GiB

NAME = re.compile(r"vllm(?: v[01])?(?: \((?:rocm|kaito|lora)\))?", re.IGNORECASE)
COLUMNS = (
    ("gpu_memory_utilization", "gpu_memory_utilization"),
    ("max_model_len", "max_model_len"),
    ("max_num_seqs", "max_num_seqs"),
    ("max_num_batched_tokens", "max_num_batched_tokens"),
    ("block_size", "block_size"),
)
# What people write instead of flags.
PHRASES: tuple[tuple[str, str, Value], ...] = (
    (r"(?<!no )prefix caching(?: on)?(?! (?:off|false))|enable_prefix_caching true", "enable_prefix_caching", True),
    (r"enable_prefix_caching false", "enable_prefix_caching", False),
    (r"no vision|language.model.only|text.only", "language_model_only", True),
)
FRACTIONS = (0.85, 0.95)  # what people set where the report is silent
SHORT = 8192  # tokens of a length that people set instead of the model's own


def read(row: Row) -> Asked | Unjudged:
    """The question, or why there is none."""
    if not NAME.fullmatch(row.text("engine")):
        return Unjudged(row=row, why="another platform or a fork")
    release = release_of(row.text("engine_version"), row.text("date"), VLLM)
    if release is None:
        return Unjudged(row=row, why="version unknown")
    model = model_of(row)
    if isinstance(model, str):
        return Unjudged(row=row, why=model)
    parallel = _parallel(row)
    machine = machine_of(row, parallel.devices)
    if isinstance(machine, str):
        return Unjudged(row=row, why=machine)
    asked = _asked(row, release, model, parallel, machine)
    if not model.scheme_named and not row.failed and rank_weights(asked.engine.resolve(asked.case))[0].nbytes > machine.high_bytes:
        return Unjudged(row=row, why="scheme not stated, and the plain weights are larger than the devices it ran on")
    return asked


def _asked(row: Row, release: Release, model: FoundModel, parallel: Parallel, machine: FoundMachine) -> Asked:
    engine = engines.find("vllm")
    settings, environment = _settings(row, model, release)
    environment = (*environment, *_core(row, release, dict(environment)))
    case = Case(
        model=model.model,
        engine="vllm",
        version=release.version,
        machine=machine.machine,
        parallel=parallel,
        settings=settings,
        environment=environment,
    )
    silent = {column for column, _ in COLUMNS[:4] if row.number(column) is None}
    silent |= {"version"} if not release.named else set()
    silent |= {"gpu_mem_gib_reported"} if not machine.reported else set()
    silent |= {"scheme"} if not model.scheme_named else set()
    return Asked(
        row=row, engine=engine, case=case, variants=tuple(_variants(case, machine, silent)), silent=frozenset(silent), rough=model.rough
    )


def _parallel(row: Row) -> Parallel:
    words = row.text("dp_or_ep").lower()
    data = re.search(r"dp ?=?(\d+)|^(\d+)$", words)
    count, pipeline = row.whole("n_gpus") or 1, row.whole("pp") or 1
    degree = int(data[1] or data[2]) if data else 1
    if re.fullmatch(r"dep ?\d+", words):
        degree = count
    tensor = row.whole("tp") or max(1, count // (pipeline * degree))
    return Parallel(tensor=tensor, pipeline=pipeline, data=degree, expert="ep" in words)


def _settings(row: Row, model: FoundModel, release: Release) -> tuple[Settings, tuple[tuple[str, str], ...]]:
    found: dict[str, Value] = {name: row.number(column) for column, name in COLUMNS if row.number(column) is not None}
    found = {name: value if name == "gpu_memory_utilization" else int(value or 0) for name, value in found.items()}
    if row.text("kv_cache_dtype"):
        found["kv_cache_dtype"] = row.text("kv_cache_dtype")
    if row.flag("enforce_eager") is not None:
        found["enforce_eager"] = row.flag("enforce_eager")
    if model.dtype is not None:
        found["dtype"] = model.dtype
    flags = row.text("other_flags")
    found.update({name: value for pattern, name, value in PHRASES if re.search(pattern, flags.lower())})
    written, environment = _written(flags, release)
    return Settings.of({**found, **_drafting(flags), **written}), environment


def _core(row: Row, release: Release, environment: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Which of the two engines the report's engine column names, in the releases that have both."""
    said = re.search(r"\bv([01])\b", row.text("engine").lower())
    both = (0, 7) <= release.version.parts < (0, 11)
    return (("VLLM_USE_V1", said[1]),) if said and both and "VLLM_USE_V1" not in environment else ()


def _drafting(flags: str) -> dict[str, Value]:
    """Drafting as people mention it: ``MTP 3``, ``num_speculative_tokens 2``, ``DFlash``."""
    tokens = re.search(r"num_speculative_tokens[ =:]*(\d+)|\b(?:MTP|EAGLE3?|DFlash)\w*[ =:-]*(?:n=?)?(\d+)\b", flags, re.IGNORECASE)
    method = re.search(r"\b(mtp|eagle3?|dflash)", flags, re.IGNORECASE)
    if tokens is None or method is None:
        return {}
    return {"spec_method": method[1].lower(), "spec_tokens": int(tokens[1] or tokens[2])}


def _written(flags: str, release: Release) -> tuple[dict[str, Value], tuple[tuple[str, str], ...]]:
    """Options and environment variables written as such, read as the engine reads them."""
    words = re.findall(r"--[a-z][a-z0-9-]+(?:[ =][^\s,;-][^\s,;]*)?", flags)
    environment = dict(re.findall(r"\b([A-Z][A-Z0-9]*_[A-Z0-9_]+)=(\S+?)(?=[,;\s]|$)", flags))
    arguments = tuple(part for word in words for part in word.replace("=", " ").split())
    request = engines.find("vllm").read_command(("vllm", "serve", "model", *arguments), environment, release.version)
    if request is None:
        return {}, tuple(environment.items())
    known = {name: value for name, value in request.settings.items if name not in {"model", "dtype"} or value != "auto"}
    return known, request.environment


def _variants(case: Case, machine: FoundMachine, silent: set[str]) -> list[Case]:
    found = []
    if "gpu_mem_gib_reported" in silent:
        found += [_with_memory(case, size) for size in {machine.low_bytes, machine.high_bytes} if size]
    if "max_model_len" in silent:
        found += [case.with_settings(max_model_len=min(length, SHORT)) for length in (case.model.architecture.max_context_tokens or SHORT,)]
    if "version" in silent:
        found += [replace(case, version=version) for version in neighbours(case.version, VLLM)]
    if "gpu_memory_utilization" in silent:
        found += [case.with_settings(gpu_memory_utilization=fraction) for fraction in FRACTIONS]
    return found


def _with_memory(case: Case, size: int) -> Case:
    devices = tuple(replace(device, total_bytes=size) for device in case.machine.devices)
    return replace(case, machine=Machine(devices=devices, host=case.machine.host))


def measures(row: Row, outcome: Outcome) -> dict[str, tuple[float | None, Amount]]:
    """What the log's figures of one device are compared with; KV figures only where the row's own parts make its budget."""
    case = outcome.case
    own = adds_up(row, case) and row.text("scope") != "total"
    capacity = outcome.capacity

    def bytes_of(column: str) -> float | None:
        value = row.number(column)
        return value * GiB if value is not None else None

    def when_consistent(value: float | None) -> float | None:
        return value if own else None

    weights, peak = rank_weights(case)[0].nbytes, profile_peak(case)
    network = overhead.network_inside(case)
    return {
        "weights": (bytes_of("weights_gib") if row.text("scope") != "total" else None, Amount.exactly(weights)),
        "activations": (when_consistent(bytes_of("activation_peak_gib")), _printed(case, peak, bytes_of("activation_peak_gib"))),
        "non-torch": (when_consistent(bytes_of("non_torch_gib")), overhead.non_torch(case)[1] + network),
        "outside": (_outside(row), overhead.context(case) + overhead.network_outside(case)),
        "graphs": (bytes_of("cuda_graph_gib"), overhead.graphs(case)),
        "KV bytes": (
            when_consistent(bytes_of("kv_cache_gib")),
            _left(case, peak, capacity.kv_cache_bytes, bytes_of("kv_cache_gib")),
        ),
        "KV blocks": (when_consistent(row.number("num_gpu_blocks")), capacity.kv_blocks),
        "KV tokens": (when_consistent(row.number("kv_tokens")), capacity.kv_tokens),
    }


def _left(case: Case, peak: Peak, cache: Amount, measured: float | None) -> Amount:
    """The cache that such a line speaks of: on a rank that takes no samples it is larger by what the sampler took."""
    if core_of(case) is Core.V1 or case.parallel.tensor == 1 or measured is None:
        return cache
    more = peak.amount.expected - peak.without_sampler.expected
    nearer = min(cache.expected, cache.expected + more, key=lambda expected: abs(expected - measured))
    return Amount(cache.low, nearer, cache.high + more)


def _printed(case: Case, peak: Peak, measured: float | None) -> Amount:
    """V0 prints the profile of any rank, and only the first takes samples: the nearer of the two, with the range of both."""
    if core_of(case) is Core.V1 or case.parallel.tensor == 1 or measured is None:
        return peak.amount
    with_sampler, without = peak.amount, peak.without_sampler
    nearer = min(with_sampler.expected, without.expected, key=lambda expected: abs(expected - measured))
    return Amount(without.low, nearer, with_sampler.high)


def _outside(row: Row) -> float | None:
    """What is in use before the first snapshot, where the report has the free memory at start."""
    match = re.search(r"startup free ([\d.]+) GiB of ([\d.]+)", row.text("other_flags"))
    return (float(match[2]) - float(match[1])) * GiB if match else None
