"""``ullage diagnose LOG``: why an engine died, from its log, and the smallest changes that are predicted to fit."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from ullage import engines
from ullage.catalog.common_hints import of_any_engine
from ullage.catalog.unplanned import PROGRAMS
from ullage.commands.check import split_environment
from ullage.commands.diagnose_here import check_is_engine, check_is_no_address, of_this_machine
from ullage.commands.diagnose_run import find_run, flags_of, gathered, log_of_run, notes_of, request_of
from ullage.commands.diagnose_said import candidates, first_question, machine_said, some_machine, with_said
from ullage.commands.engine_pages import API_KEY, base_of, read_engine, shown
from ullage.commands.question import DEFAULT_ENGINE, ENGINE, FORMATS, MACHINE, PLACEMENT, WORKLOAD, parse_version
from ullage.commands.released import is_planned_for
from ullage.commands.running import processes_below
from ullage.commands.verb import Answer, Argument, Flags, Option, Verb
from ullage.domain.case import Case, Settings, Value
from ullage.domain.cause import Diagnosis, Kind, Log
from ullage.domain.engine import Engine, Request
from ullage.domain.placement import Parallel
from ullage.errors import InputError, UllageError, WorldError
from ullage.frozen import replace
from ullage.planning.diagnose import diagnose
from ullage.planning.diagnose_command import as_words
from ullage.planning.diagnose_facts import detail, is_over_device
from ullage.planning.diagnose_live import log_of
from ullage.planning.diagnose_pod import Described
from ullage.ports import World
from ullage.units import GiB, format_bytes

_MODEL = Option("model", "text", "The model, where the log names it by a path that is not here, or not at all.", "MODEL", panel="Machine")
_WHICH = Option("engine", "text", "The engine, where its words do not tell.", "NAME", panel="Engine")
_PID = Option("pid", "whole", "A running engine of this machine: its command, and the log file it writes to.", "PID", panel="Engine")
_RUN = Option("run", "text", "A stored run: its id, or last for the newest that failed.", "ID", panel="Engine")
_OUTPUT: Final = (
    Option("json", "flag", "Answer as JSON."),
    Option("output", "text", "Write the answer to a file.", "FILE", ("--output", "-o")),
    Option("offline", "flag", "Never use the network."),
)
# What engines call the model and the degrees where they repeat their settings.
_MODEL_KEYS: Final = ("model_tag", "model", "model_path")
_NAMELESS: Final = "the log does not tell which engine wrote it: {}say it with --engine"
_SCRIPT: Final = "transformers"  # asks for more than a device has in one piece, where servers measure beforehand
_UNPLANNED: Final = "nothing is planned for {}: its settings are named as it names them, without a budget"
_UNLIKE: Final = (
    "no line is one that an engine, a framework or a system writes, and none is a command that starts an engine: give what it wrote, "
    "`COMMAND 2>&1 | tee LOG`, `docker logs NAME`, `kubectl logs POD --previous` or `journalctl -u UNIT`, or name the engine with "
    "--engine; what a document quotes of logs is not taken for one"
)
_DEGREES: Final = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "tp_size", "pp_size", "dp_size")
_ALSO: Final = ("dtype", "quantization", "kv_cache_dtype", "max_model_len", "context_length", "max_seq_len")


def make_diagnosis(flags: Flags, lines: Iterable[str], world: World, argv: tuple[str, ...] = ()) -> Diagnosis:
    """The diagnosis of a log's lines; ``argv`` is the command that wrote them, where it is known.

    Raises InputError for an engine that is not known; what the case lacks is said in the notes.
    """
    described = Described()
    log = gathered(described.passing(lines), _wanted(flags) or _engine_of(argv))
    if described.image:
        log = described.into(log)
        log = replace(log, engine=log.engine or _engine_of(described.argv))
    return _diagnosed(replace(log, commands=(*log.commands, (0, argv))) if argv else log, flags, world)


def _wanted(flags: Flags) -> str | None:
    text = flags.text("engine")
    return engines.find(text).profile.name if text is not None else None


def live_diagnosis(flags: Flags, url: str, world: World) -> Diagnosis:
    """What a running engine's metrics show. Raises WorldError where nobody answers."""
    base = base_of(url)
    reading = read_engine(world.meters, base, world.meters.now(), _wanted(flags), None, flags.text("api_key_file") or "")
    if not reading.answers:
        raise WorldError(f"nobody answers at {shown(base)}: a dead engine is diagnosed from its log, ullage diagnose LOG")
    if not reading.is_engine or (reading.locked and reading.facts is None and not reading.healthy):
        raise WorldError(reading.no_engine or reading.wants_key)
    named, log, notes = of_this_machine(flags, base, log_of(reading), world)
    if not log.commands and flags.text("model") is None and reading.model:
        named = flags.with_(model=reading.model)
    found = _diagnosed(log, named, world)
    well = {True: "is healthy", False: "is not healthy: give its log", None: "answers, and has no page that says whether it is well"}
    told = (f"{shown(base)} {well[reading.healthy]}", *((reading.wants_key,) if reading.locked else ()), *notes)
    healthy = "" if reading.healthy is False else shown(base)
    return replace(found, notes=(*told, *found.notes), model=found.model or reading.model, healthy=healthy)


def stored_diagnosis(flags: Flags, word: str, world: World) -> Diagnosis:
    """Why a stored run ended. Raises InputError where there is none of that id."""
    run = find_run(word, world)
    found = _diagnosed(log_of_run(run), flags_of(run, flags), world, request_of(run))
    return replace(found, notes=(*notes_of(run), *found.notes))


def _diagnosed(log: Log, flags: Flags, world: World, asked: Request | None = None) -> Diagnosis:
    """With what the log or the options tell of the case; ``asked`` is what was asked of the engine, where that is known."""
    known = engines.engines()
    name = log.engine
    if name in PROGRAMS:
        program = PROGRAMS[name]
        return replace(diagnose(log, aid=program.aid), notes=(_UNPLANNED.format(program.title),))
    if name is None:
        likest = _SCRIPT if is_over_device(log) else DEFAULT_ENGINE
        found = diagnose(log, aid=of_any_engine(engines.first_aid(likest)))
        if not log.lines:
            return replace(found, notes=("nothing tells which engine this is: say it with --engine",))
        names = "" if found.found and found.causes[0].kind is Kind.HOST else f"settings are named as {likest} names them; "
        return replace(found, notes=(_UNLIKE if log.is_unlike else _NAMELESS.format(names),))
    case, is_sized, notes = _case(flags, world, known[name], log, asked)
    return diagnose(log, engine=known[name], aid=engines.first_aid(name), case=case, is_sized=is_sized, notes=notes)


def _request(engine: Engine, log: Log, flags: Flags) -> Request | None:
    """The command in the log that this engine reads, the last first; else what it repeats of its settings."""
    text = flags.text("engine_version") or log.version
    version = None
    if text is not None:
        try:
            version = parse_version(text)
        except InputError:
            version = None
    for _, words in reversed(log.commands):
        given, own = split_environment(words)
        request = _read(engine, own, dict(word.split("=", 1) for word in given), version)
        if request is not None:
            return request
    said = dict(log.arguments)
    if not said:
        return None
    model = next((said[key] for key in _MODEL_KEYS if key in said), "")
    knobs = frozenset({*(knob.name for knob in engine.profile.knobs), *_DEGREES, *_ALSO})
    start: tuple[str, ...] = ("vllm", "serve", model)
    for first in (start, ("python", "-m", "sglang.launch_server", "--model-path", model)):
        request = _read(engine, (*first, *as_words(said, knobs)), {}, version)
        if request is not None:
            return request
    return _plain(engine, model, said)


def _plain(engine: Engine, model: str, said: Mapping[str, str]) -> Request | None:
    """The settings of an engine that is a library: as they are said, without a command."""
    settings: dict[str, Value] = {}
    for name in (knob.name for knob in engine.profile.knobs if knob.name in said):
        try:
            settings[name] = engine.validate(name, said[name])
        except UllageError:
            continue
    if not settings or not model:
        return None
    known = Settings.of(settings)
    return Request(engine=engine.profile.name, model=model, settings=known, parallel=Parallel(), environment=(), findings=())


def _workload(log: Log) -> dict[str, object]:
    """The last batch that the log tells of: how many sequences, and how long they become."""
    batch = next((seen.fact for seen in reversed(log.sightings) if seen.fact.name == "batch"), None)
    if batch is None:
        return {}
    tokens = (detail(batch, "prompt_tokens") or 0) + (detail(batch, "answer_tokens") or 0)
    return {"context": str(max(1, tokens)), "concurrency": detail(batch, "batch") or 1}


def _read(engine: Engine, argv: tuple[str, ...], environment: Mapping[str, str], version: object) -> Request | None:
    try:
        return engine.read_command(argv, environment, version)  # type: ignore[arg-type]
    except UllageError:
        return None


def _case(flags: Flags, world: World, engine: Engine, log: Log, asked: Request | None) -> tuple[Case | None, bool, tuple[str, ...]]:
    """What the log and the options say of the question, whether they say how large the devices are, and what they leave out."""
    request = with_said(engine, log, _request(engine, log, flags) or asked)
    named = candidates(log, flags, request)
    if not named:
        return (
            None,
            False,
            ("nothing names the model: give --model, and --gpu, for a budget with predictions and changes that are planned",),
        )
    given = {option.name: flags.text(option.name) for option in VERB.options if option.kind == "text"}
    words: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    words |= {option.name: flags.texts(option.name) for option in VERB.options if option.kind == "many"}
    words |= {option.name: flags.whole(option.name) for option in VERB.options if option.kind == "whole"}
    words |= {name: value for name, value in _workload(log).items() if words.get(name) is None}
    words["engine_version"] = _known_version(engine, flags.text("engine_version") or log.version)
    notes: list[str] = []
    if flags.text("gpu") is None:
        words["gpu"] = machine_said(log, request, notes)
    is_sized = words["gpu"] is not None
    if not is_sized:
        notes.append("nothing says how large the devices are: give --gpu for a budget with predictions")
        words["gpu"] = some_machine(request)
    if log.host_limit_bytes is not None and words.get("host_memory") is None:
        words["host_memory"] = f"{log.host_limit_bytes / GiB:.4f}GiB"
        notes.append(f"the container's limit of memory is {format_bytes(log.host_limit_bytes)}")
    asked_as = tuple((model, VERB.flags({**words, "quant": scheme})) for model, scheme in named)
    try:
        question = first_question(asked_as, world, engine, request)
    except UllageError as error:
        where = f" (a run keeps the name of its model alone: say with --model where {named[0][0]} lies)" if asked is not None else ""
        return None, False, (*notes, f"no case could be made of the log, so the budget holds only what it measured: {error}{where}")
    if log.version is not None and words["engine_version"] is None:
        notes.append(f"the log's release {log.version} is outside what is known; planned as {engine.profile.default}")
    return question.case, is_sized, (*notes, *(question.notes if is_sized else ()))


def _known_version(engine: Engine, text: str | None) -> str | None:
    """The release as a word of ours, or None where it is outside what is known."""
    if text is None:
        return None
    try:
        version = parse_version(text)
    except InputError:
        return None
    return ".".join(map(str, version.parts)) if is_planned_for(engine.profile, version) else None


def report(diagnosis: Diagnosis, flags: Flags) -> Answer:
    """For people or for programs; exit code 1 when there is a cause or an end, and that of a wrong request for what is no log."""
    exit_code = (
        1 if diagnosis.found or diagnosis.ended else InputError.exit_code if diagnosis.log.is_unlike and not diagnosis.healthy else 0
    )
    if flags.flag("json") or (flags.text("output") or "").endswith(".json"):
        from ullage.report.diagnosis_json import diagnosis_values  # noqa: PLC0415 - only one of the two writers is needed

        return Answer(exit_code, json=diagnosis_values(diagnosis))
    from ullage.report.diagnosis_document import diagnosis_document  # noqa: PLC0415 - as above

    return Answer(exit_code, document=diagnosis_document(diagnosis))


def run(flags: Flags, world: World) -> Answer:
    """Read, diagnose and report."""
    word, pid, stored = flags.text("log"), flags.whole("pid"), flags.text("run")
    if stored is not None:
        return report(stored_diagnosis(flags, stored, world), flags)
    if pid is not None:
        argv, lines = _process(pid, world)
        found = make_diagnosis(flags, world.logs.lines(word) if word is not None else lines, world, argv)
        return report(check_is_engine(found, pid), flags)
    if word is not None and word.startswith(("http://", "https://")):
        return report(live_diagnosis(flags, word, world), flags)
    try:
        return report(make_diagnosis(flags, _some(world.logs.lines(word or "-"), word or "-"), world), flags)
    except WorldError:
        check_is_no_address(word or "")
        raise


def _process(pid: int, world: World) -> tuple[tuple[str, ...], Iterator[str]]:
    """The command and the log of a process; of one that is no engine, the command of the first engine below it. Raises WorldError."""
    argv, lines = world.logs.process(pid)
    if _engine_of(argv) is not None:
        return argv, lines
    for _, below, theirs in processes_below(world, pid):
        if _engine_of(below) is not None:
            return below, _either(lines, theirs)
    return argv, lines


def _engine_of(argv: tuple[str, ...]) -> str | None:
    """Whose command this is; None where it is nobody's."""
    return next((name for name, engine in engines.engines().items() if argv and _read(engine, argv, {}, None) is not None), None)


def _either(lines: Iterator[str], others: Iterator[str]) -> Iterator[str]:
    """The first, or where there are none the others."""
    is_empty = True
    for line in lines:
        is_empty = False
        yield line
    if is_empty:
        yield from others


def _some(lines: Iterator[str], word: str) -> Iterator[str]:
    """The lines. Raises InputError at the end of those that are all empty."""
    is_empty = True
    for line in lines:
        is_empty = is_empty and not line.strip()
        yield line
    if is_empty:
        name = "standard input" if word == "-" else word
        raise InputError(f"{name} is empty: give the log that the engine wrote; `COMMAND 2>&1 | tee LOG` keeps one")


VERB = Verb(
    name="diagnose",
    help="Say why an engine died, from its log: the term that overflowed, the phase, ranked causes and the smallest changes that help.",
    run=run,
    options=(_MODEL, *MACHINE, *PLACEMENT, *WORKLOAD, _WHICH, _PID, _RUN, API_KEY, *ENGINE, *FORMATS, *_OUTPUT),
    argument=Argument("log", "maybe", "A log file, plain or packed (gz, bz2, xz, zst), - for standard input, or a running engine's URL."),
)
