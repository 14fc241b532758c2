"""The options of every question about memory, and the case they describe."""

import re
from typing import NamedTuple

from ullage import engines
from ullage.commands.machine import read_machine
from ullage.commands.model import read_model
from ullage.commands.verb import Flags, Option
from ullage.domain.case import Case, Model, Settings, Value, Version
from ullage.domain.engine import Engine, Request
from ullage.domain.machine import Machine
from ullage.domain.placement import Parallel
from ullage.domain.workload import Workload
from ullage.errors import InputError
from ullage.ports import World
from ullage.units import parse_count

DEFAULT_ENGINE = "vllm"
EMBEDDED = "runtime"  # what serves where there is no accelerator and nothing was named
WHICH_ENGINE = Option(
    "engine",
    "text",
    "The serving engine (`ullage engines`); unless said vllm, and our own runtime where there is no accelerator.",
    "NAME",
    panel="Engine",
)
TOKENIZER = Option(
    "tokenizer", "text", "What counts the data of --workload; the model's own tokeniser unless said.", "PATH|MODEL", panel="Load"
)
CPU, LOCAL = "cpu", "local"  # words of --gpu

MACHINE = (
    Option("gpu", "text", "Devices: 8xH800-80GB, 4090,4090,3090, 24GiB, cpu or local.", "DEVICES", panel="Machine"),
    Option("host_memory", "text", "Memory of the host: 512GiB.", "SIZE", panel="Machine"),
    Option("reserve", "many", "What a desktop or another process holds: gpu0=2GiB, or 2GiB of each.", "[ID=]SIZE", panel="Machine"),
    Option("total_memory", "many", "What the driver reports: gpu0=23.58GiB, or 23.58GiB for each.", "[ID=]SIZE", panel="Machine"),
)
WORKLOAD = (
    Option("context", "text", "Prompt plus answer of one sequence: 960000, 32k, 32K, 1m.", "TOKENS", panel="Load"),
    Option("concurrency", "whole", "Sequences at once.", "N", panel="Load"),
)
PLACEMENT = (
    Option("tp", "whole", "Tensor parallel degree.", "N", panel="Placement"),
    Option("pp", "whole", "Pipeline parallel degree.", "N", panel="Placement"),
    Option("dp", "whole", "Data parallel degree.", "N", panel="Placement"),
    Option("ep", "flag", "Spread whole experts over the devices.", panel="Placement"),
)
ENGINE = (
    Option(
        "engine_version",
        "text",
        "Its release; when it is not said the newest known, and for serve and tune the one that is installed.",
        "VERSION",
        panel="Engine",
    ),
    Option("set", "many", "Any setting in the engine's own name: max_num_batched_tokens=2048.", "NAME=VALUE", panel="Engine"),
    Option("env", "many", "An environment variable of the engine.", "NAME=VALUE", panel="Engine"),
    Option(
        "baselines", "text", "Runs that narrow the amounts: an exported file, or none; this user's own unless said.", "FILE", panel="Engine"
    ),
)
FORMATS = (
    Option("quant", "text", "Quantise by rule: awq, gptq, fp8, q4_k_m and so on.", "SCHEME", panel="Engine"),
    Option("kv_dtype", "text", "Format of the key-value cache, in the engine's word.", "DTYPE", panel="Engine"),
    Option("dtype", "text", "Format of the activations, in the engine's word.", "DTYPE", panel="Engine"),
)
OUTPUT = (
    Option("json", "flag", "Answer as JSON."),
    Option("output", "text", "Write the answer to a file.", "FILE", ("--output", "-o")),
    Option("explain", "flag", "Print every formula with its numbers."),
    Option("offline", "flag", "Never use the network."),
    Option("apply", "whole", "Answer again with the Nth remedy applied.", "N"),
)
_KV_DTYPE_SETTINGS = ("kv_cache_dtype", "cache_type", "cache_type_k", "cache_mode", "cache_quant", "kv_dtype", "kv_cache_quant")

_DEGREES = {
    **dict.fromkeys(("tensor_parallel_size", "tp_size", "tp"), "--tp"),
    **dict.fromkeys(("pipeline_parallel_size", "pp_size", "pp"), "--pp"),
    **dict.fromkeys(("data_parallel_size", "dp_size", "dp"), "--dp"),
}


def parse_version(text: str) -> Version:
    """A release such as ``0.11.0`` or ``v0.6.4.post1``. Raises InputError."""
    match = re.match(r"[vb]?(\d+(?:\.\d+)*)", text.strip())
    if match is None:
        raise InputError(f"{text[:40]!r} is no release: write numbers such as 0.11.0")
    return Version(tuple(int(part) for part in match[1].split(".")), text.strip().lstrip("vb"))


def pairs(flag: str, words: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """``NAME=VALUE`` words. Raises InputError."""
    split = tuple(word.partition("=") for word in words)
    for name, sign, value in split:
        if not name.strip() or not sign:
            raise InputError(f"{flag} {name}{sign}{value}: write a name and a value, {flag} NAME=VALUE")
    return tuple((name.strip().removeprefix("--"), value.strip()) for name, _, value in split)


def _setting_for(engine: Engine, candidates: tuple[str, ...], flag: str) -> tuple[str, ...]:
    """The engine's own names for what our flag says."""
    known = {knob.name for knob in engine.profile.knobs}
    found = [name for name in candidates if name in known]
    if not found:
        raise InputError(f"{engine.profile.title} has no setting for {flag}; its settings are {', '.join(sorted(known))}")
    return tuple(found)


def _settings(engine: Engine, flags: Flags) -> dict[str, Value]:
    found: dict[str, Value] = {}
    kv_dtype, dtype = flags.text("kv_dtype"), flags.text("dtype")
    if kv_dtype is not None:
        names = _setting_for(engine, _KV_DTYPE_SETTINGS, "--kv-dtype")
        found.update({name: engine.validate(name, kv_dtype) for name in names})
    if dtype is not None:
        found.update({name: engine.validate(name, dtype) for name in _setting_for(engine, ("dtype", "torch_dtype"), "--dtype")})
    for written, value in pairs("--set", flags.texts("set")):
        name = written.replace("-", "_")
        if name in _DEGREES:
            raise InputError(f"--set {written}={value}: say it with {_DEGREES[name]} {value}, so that the devices are divided too")
        found[name] = engine.validate(name, value)
    return found


def _parallel(flags: Flags, before: Parallel) -> Parallel:
    return Parallel(
        tensor=flags.whole("tp") or before.tensor,
        pipeline=flags.whole("pp") or before.pipeline,
        data=flags.whole("dp") or before.data,
        expert=flags.flag("ep") or before.expert,
    )


def _version(engine: Engine, flags: Flags, request: Request | None) -> Version:
    text = flags.text("engine_version")
    if text is not None:
        return parse_version(text)
    return (request.version if request is not None else None) or engine.profile.default


def _stated(flags: Flags, settings: dict[str, Value], request: Request | None, machine: Machine) -> frozenset[str]:
    words = {"context": "context", "concurrency": "concurrency", "engine_version": "version"}
    said = {word for name, word in words.items() if flags.text(name) is not None}
    if any(flags.text(name) is not None for name in ("tp", "pp", "dp")) or flags.flag("ep"):
        said.add("parallel")
    if flags.texts("total_memory") or flags.texts("reserve") or (flags.text("host_memory") is not None and machine.is_processor):
        said.add("device_memory")
    return frozenset({*said, *settings, *(request.stated if request is not None else ())})


class Question(NamedTuple):
    """A case as it was asked, and what was noticed while its model was read."""

    case: Case
    notes: tuple[str, ...]


def _as_loaded(model: Model, engine: Engine, version: Version, settings: Settings) -> Model:
    """The model after what the settings have the engine quantise while it loads."""
    if not settings.items:
        return model
    from ullage.planning.quantise import as_loaded  # noqa: PLC0415 - keeps the cold start quick

    return as_loaded(model, engine.profile.name, version.parts, settings)


def read_question(flags: Flags, world: World, engine: Engine, model_word: str, request: Request | None = None) -> Question:
    """The case that the options describe, on top of a command somebody wrote where there is one. Raises every error of the tree."""
    model, notes = read_model(model_word, world.models, quantisation=flags.text("quant"))
    machine = read_machine(
        flags.text("gpu"),
        flags.text("host_memory"),
        flags.texts("reserve"),
        flags.texts("total_memory"),
        world.hardware,
        engine.profile.device_kinds,
    )
    own = _settings(engine, flags)
    settings = request.settings.with_(**own) if request is not None else Settings.of(own)
    context = flags.text("context")
    version = _version(engine, flags, request)
    case = Case(
        model=_as_loaded(model, engine, version, settings),
        engine=engine.profile.name,
        version=version,
        machine=machine,
        parallel=_parallel(flags, request.parallel if request is not None else Parallel()),
        workload=Workload(
            context_tokens=_context(context) if context is not None else None, concurrent_sequences=flags.whole("concurrency") or 1
        ),
        settings=settings,
        environment=(*(request.environment if request is not None else ()), *pairs("--env", flags.texts("env"))),
        stated=_stated(flags, own, request, machine),
    )
    return Question(case, notes)


def _context(text: str) -> int:
    tokens = parse_count(text)
    if tokens < 1:
        raise InputError(f"--context {text}: a sequence has at least one token; write for example --context 32768")
    return tokens


def find_engine(flags: Flags, world: World) -> Engine:
    """The engine of ``--engine``; where none was named, our own runtime on a machine without accelerators. Raises InputError."""
    named, devices = flags.text("engine"), flags.text("gpu")
    if named is None and (devices == CPU or (devices in {None, LOCAL} and not world.hardware.devices())):
        return engines.find(EMBEDDED)
    return engines.find(named or DEFAULT_ENGINE)
