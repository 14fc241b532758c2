"""The guard in front of an engine that ``serve`` keeps: what it is told of the engine, and when."""

from collections.abc import Mapping
from ipaddress import ip_address

from ullage.commands.foreseen import foresight_of
from ullage.commands.serving import Serving, key_of
from ullage.commands.tokens import gguf_metadata
from ullage.commands.verb import Flags, Option
from ullage.domain.admission import DeviceReading, Limits, PoolReading
from ullage.domain.baseline import Figure
from ullage.domain.case import Model
from ullage.domain.engine import Engine
from ullage.domain.guard import Guard, GuardOptions
from ullage.domain.plan import DeviceVerdict
from ullage.domain.reading import DeviceReading as Reading
from ullage.domain.supervision import Launch
from ullage.errors import InputError, UllageError
from ullage.planning.admit import begin, step
from ullage.planning.cost_model import cost_model
from ullage.planning.fit import Outcome, evaluate
from ullage.planning.foresight import seen_answers
from ullage.planning.in_flight import least_free_bytes
from ullage.ports import World

OPTIONS = (
    Option("no_guard", "flag", "Let callers reach the engine itself.", panel="Guard"),
    Option("keys_file", "text", "API keys that callers give, one a line.", "FILE", panel="Guard"),
    Option(
        "records",
        "text",
        "Append what became of each request, as a line of JSON without its text; at 64 MiB it becomes FILE.1 (docs/guard.md).",
        "FILE",
        panel="Guard",
    ),
    Option("queue", "whole", "Requests that may wait.", "N", panel="Guard"),
    Option("deadline", "whole", "How long a request may wait.", "SECONDS", panel="Guard"),
    Option(
        "request_timeout",
        "whole",
        "How long the engine may send nothing of an answer, which of one in one piece is all of its time; 3600 unless said.",
        "SECONDS",
        panel="Guard",
    ),
    Option("cap_answers", "flag", "Shorten answers to what is left instead of refusing.", panel="Guard"),
    Option(
        "ahead", "whole", "Admit by the forecast of the pool this far ahead; 30 where runs or a workload tell.", "SECONDS", panel="Guard"
    ),
    Option("worst_case", "flag", "Admit by what every request may take at most, whatever is known of it.", panel="Guard"),
)


class GuardDoor:
    """A guard that hears of its engine, and of what is free on the engine's own devices."""

    def __init__(self, guard: Guard, engine: Engine, world: World, outcome: Outcome) -> None:
        self._guard, self._engine, self._world = guard, engine, world
        self._devices = frozenset(seen.device for seen in _accelerators(outcome))

    def start(self) -> None:
        """As the port says."""
        self._guard.start()

    def stop(self) -> None:
        """As the port says."""
        self._guard.stop()

    def engine_ready(self, url: str, launch: Launch) -> None:
        """As the port says; what a request costs is that of this launch."""
        if launch.case is None:
            self._guard.engine_ready(url)
            return
        outcome = evaluate(self._engine, launch.case)
        self._devices = frozenset(seen.device for seen in _accelerators(outcome))
        self._guard.engine_ready(url, cost_model(self._engine, outcome.case, outcome.ledger))

    def engine_died(self) -> None:
        """As the port says."""
        self._guard.engine_died()

    def engine_gone(self) -> None:
        """As the port says."""
        self._guard.engine_gone()

    def drain(self) -> bool:
        """As the port says."""
        return self._guard.drain()

    def pulse(self, at: float, page: str) -> None:
        """The engine's own counters, and what is free on its fullest device."""
        said = {fact.name: fact.value for fact in self._engine.read_metrics(page)} if page else {}
        usage, preemptions, waiting = (said.get(name) for name in ("kv_cache_usage", "preemptions", "requests_waiting"))
        if said:
            self._guard.observe(
                PoolReading(
                    at=at,
                    usage=float(usage) if isinstance(usage, int | float) else None,
                    preemptions=int(preemptions) if isinstance(preemptions, int | float) else None,
                    waiting=int(waiting) if isinstance(waiting, int | float) else None,
                )
            )
        free = [seen.free_bytes for seen in self._readings(at) if seen.device in self._devices and seen.free_bytes is not None]
        if free:
            self._guard.observe(DeviceReading(at=at, free_bytes=min(free)))

    def answers(self) -> tuple[Figure, ...]:
        """How long answers were and how fast they came, for the runs after this one."""
        return seen_answers(self._guard.records())

    def _readings(self, at: float) -> tuple[Reading, ...]:
        try:
            return self._world.meters.devices(at)
        except UllageError:  # a driver that does not answer now says nothing
            return ()


def _accelerators(outcome: Outcome) -> tuple[DeviceVerdict, ...]:
    """The devices in use that have memory of their own: what is free of the host's hangs on all that runs there, and on its files."""
    own = {device.id for device in outcome.case.machine.devices if device.kind != "cpu" and device.shares_memory_with is None}
    return tuple(seen for seen in outcome.devices if seen.device in own)


def open_door(flags: Flags, world: World, serving: Serving) -> tuple[GuardDoor | None, tuple[str, ...]]:
    """The guard, and what to say of it, or why there is none. Raises WorldError and InputError."""
    exposed = _exposed(flags, world, serving)
    if flags.flag("no_guard") or serving.case is None:
        _check_unguarded(flags, serving)
    if flags.flag("no_guard"):
        return None, exposed
    if serving.case is None:
        return None, ("there is no guard, as nobody could plan what a request takes", *exposed)
    outcome = evaluate(serving.engine, serving.case)
    cost = cost_model(serving.engine, outcome.case, outcome.ledger)
    foresight, ahead_s, how = foresight_of(flags, world, serving, outcome, cost)
    usual = Limits()
    limits = Limits(
        queue_requests=flags.whole("queue") or usual.queue_requests,
        deadline_s=float(flags.whole("deadline") or usual.deadline_s),
        caps_answers=flags.flag("cap_answers"),
        ahead_s=ahead_s,
        least_free_bytes=least_free_bytes(_accelerators(outcome)),
    )
    keys = flags.text("keys_file") or ""
    inner = key_of(serving, world) if keys else None  # without keys of the guard's own callers show the engine's
    silent_s = float(flags.whole("request_timeout") or GuardOptions().silent_s)
    options = GuardOptions(
        host=serving.host, port=serving.port, keys_file=keys, engine_key=inner or "", silent_s=silent_s, journal=flags.text("records") or ""
    )
    documents, metadata = _vocabulary(serving.case.model, world)
    why = "" if documents or metadata else "no tokeniser is at hand, so prompts are counted by a bound"
    guard = world.guards.open(options, begin(cost, limits, foresight), step, documents, metadata)
    return GuardDoor(guard, serving.engine, world, outcome), tuple(note for note in (why, how, *exposed) if note)


def _check_unguarded(flags: Flags, serving: Serving) -> None:
    """Raises InputError for what the guard is to do where there is none."""
    for option in OPTIONS:
        if option.name == "no_guard" or not (flags.flag(option.name) if option.kind == "flag" else flags.text(option.name)):
            continue
        why = "--no-guard" if flags.flag("no_guard") else f"nobody could plan this command ({'; '.join(serving.notes)})"
        spelling = option.spellings[0]
        raise InputError(f"{spelling} is for the guard, and there is no guard: {why}; leave {spelling} out")


def _exposed(flags: Flags, world: World, serving: Serving) -> tuple[str, ...]:
    """That whoever reaches this machine is answered, where other machines can and no key is asked for."""
    host = serving.host
    if _is_own(host) or flags.text("keys_file") or key_of(serving, world):
        return ()
    mending = "give --host 127.0.0.1, or a key to the engine" if flags.flag("no_guard") else "give --keys-file FILE, or --host 127.0.0.1"
    return (f"whoever reaches {host} port {serving.port} is answered, as no key is asked for: {mending}",)


def _is_own(host: str) -> bool:
    """Whether only programs of this machine reach a server that listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _vocabulary(model: Model, world: World) -> tuple[Mapping[str, bytes], Mapping[str, object]]:
    """The files that tokens are counted by, or the metadata of the model's GGUF file; nothing where there is neither."""
    try:
        if model.path.endswith(".gguf"):
            folder = world.models.local(model.path)
            return {}, gguf_metadata(folder) if folder is not None else {}
        return world.data.tokenizer_files(model.path or model.name) or {}, {}
    except UllageError:
        return {}, {}
