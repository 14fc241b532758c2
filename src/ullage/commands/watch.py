"""``ullage watch [URL]``: what was promised and what is there, side by side, look after look."""

from collections.abc import Iterator
from typing import NamedTuple

from ullage import engines, wire
from ullage.commands.engine_pages import API_KEY, base_of, check_webhook, read_engine, started_facts
from ullage.commands.held_to import Held, held_now, held_to
from ullage.commands.question import ENGINE, FORMATS, MACHINE, PLACEMENT, WORKLOAD
from ullage.commands.running import behind_serve
from ullage.commands.verb import Answer, Argument, Flags, Option, Verb
from ullage.domain.facts import Fact
from ullage.domain.reading import EngineReading, Moment
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.planning.doubts import doubts
from ullage.planning.watch import observe
from ullage.planning.watched import Alarm, Point, Watched
from ullage.ports import World
from ullage.report.watch_document import watch_document, watch_line
from ullage.report.watch_json import alarm_values, watch_values
from ullage.report.watch_metrics import watch_metrics

_SECONDS = 2.0
_SHORTEST, _LONGEST = 0.05, 3600.0
_PROMISE = (
    Option("plan", "text", "Hold it to a plan that `ullage plan MODEL --json -o FILE` wrote.", "FILE", panel="Promise"),
    Option(
        "model",
        "text",
        "Hold it to the plan of this model and the options below; to the command it runs with, where that is found.",
        "MODEL",
        panel="Promise",
    ),
    Option("engine", "text", "The serving engine; recognised by its metrics where it is not said.", "NAME", panel="Promise"),
)
_WATCH = (
    Option("pid", "whole", "The engine's process; the one that listens at URL where it is not said.", "PID", panel="Watch"),
    API_KEY,
    Option("log", "text", "The engine's log, for what it says when it starts.", "FILE", panel="Watch"),
    Option("interval", "text", "Seconds between two looks; 2 where it is not said.", "SECONDS", panel="Watch"),
    Option("count", "whole", "End after so many looks.", "N", panel="Watch"),
    Option("once", "flag", "Look once, and end with 1 where an alarm is active.", panel="Watch"),
    Option(
        "prometheus",
        "text",
        "Serve what is seen at http://HOST:PORT/metrics; on this machine alone without a host.",
        "[HOST:]PORT",
        panel="Watch",
    ),
    Option("webhook", "text", "POST alarms as JSON there when they come and go.", "URL", panel="Watch"),
    Option("json", "flag", "Answer as JSON: one object for --once, one a line otherwise."),
    Option("offline", "flag", "Never use the Hub."),
)


class _Task(NamedTuple):
    """What is watched, and where it is told."""

    world: World
    flags: Flags
    command: tuple[str, ...]
    held: Held  # at the beginning
    base: str | None
    engine: str | None
    key_file: str
    pid: int | None
    started: tuple[Fact, ...]
    prometheus: str | None
    webhook: str | None
    as_json: bool
    names: tuple[str, ...]  # that the promise was named by


class _Past(NamedTuple):
    """What one look leaves to the next."""

    held: Held
    history: tuple[Point, ...] = ()
    engine: EngineReading | None = None
    alarms: tuple[Alarm, ...] = ()


def run(flags: Flags, world: World) -> Answer:
    """Look once, or until it is interrupted."""
    interval, once = _interval(flags), flags.flag("once")
    if once and (flags.text("prometheus") is not None or flags.whole("count") is not None):
        raise InputError("--once looks once and ends: leave out --prometheus and --count, or --once")
    looks = _looks(_task(flags, world), interval, 1 if once else flags.whole("count"))
    return next(looks) if once else Answer(0, looks=looks)


def _interval(flags: Flags) -> float:
    text = flags.text("interval")
    try:
        seconds = _SECONDS if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not _SHORTEST <= seconds <= _LONGEST:
        raise InputError(f"--interval {text}: write seconds between {_SHORTEST} and {_LONGEST:.0f}")
    return seconds


def _task(flags: Flags, world: World) -> _Task:
    words = flags.texts("target")
    cut = words.index("--") if "--" in words else len(words)
    url, command = words[:cut], words[cut + 1 :]
    if len(url) > 1:
        raise InputError(f"{' '.join(url)[:80]!r} is more than one address: write the engine's command after --")
    base = base_of(url[0]) if url else None
    if flags.whole("pid") is not None:
        world.logs.process(flags.whole("pid") or 0)  # one that is not there is said before the first look
    held = held_to(flags, world, base, command)
    engine, webhook = flags.text("engine") or (held.promise.engine if held.promise is not None else None), flags.text("webhook")
    return _Task(
        world=world,
        flags=flags,
        command=command,
        held=held,
        base=base,
        engine=engine,
        key_file=flags.text("api_key_file") or "",
        pid=flags.whole("pid"),
        started=_started(flags, world, engine),
        prometheus=flags.text("prometheus"),
        webhook=None if webhook is None else check_webhook(webhook),
        as_json=flags.flag("json"),
        names=(*command, *(name for option in ("model", "plan") if (name := flags.text(option)))),
    )


def _started(flags: Flags, world: World, engine: str | None) -> tuple[Fact, ...]:
    path = flags.text("log")
    if path is None:
        return ()
    if engine is None:
        raise InputError("--log needs to know whose log it is: say --engine NAME (`ullage engines`)")
    return started_facts(world.desk.read(path).decode("utf-8", "replace"), engines.find(engine).read_log_line)


def _looks(task: _Task, interval: float, count: int | None) -> Iterator[Answer]:
    """Answer after answer, with the time between two looks kept as well as looking allows."""
    past, number, due = _Past(task.held), 0, task.world.meters.now()
    while True:
        answer, past = _look(task, past)
        yield answer
        number += 1
        if number == count:
            return
        now = task.world.meters.now()
        due = max(due + interval, now)
        task.world.outlets.wait(due - now)


def _look(task: _Task, past: _Past) -> tuple[Answer, _Past]:
    moment = _read(task, past)
    held = held_now(past.held, task.flags, task.world, task.base, task.command, moment.host) if moment.host is not None else past.held
    seen = observe(held.promise, moment, past.history if held.running == past.held.running else ())  # another process grew by itself
    notes = _tell(task, seen, past)
    exit_code = 1 if seen.alarms else 0
    doubts = _doubts(task, held, moment)
    answer = (
        Answer(exit_code, json=watch_values(seen, (*held.notes, *doubts, *notes)))
        if task.as_json
        else Answer(
            exit_code,
            document=watch_document(seen, (*held.notes, *doubts, *notes)),
            line="; ".join((watch_line(seen), *(() if past.history else doubts), *notes)),
        )
    )
    return answer, _Past(held=held, history=seen.history, engine=moment.engine, alarms=seen.alarms)


def _doubts(task: _Task, held: Held, moment: Moment) -> tuple[str, ...]:
    """Why this look may not be what was meant."""
    wants_key = moment.engine.wants_key if moment.engine is not None else ""
    names = () if held.is_of_it else task.names  # of the very process a name tells nothing
    differ = doubts(held.promise, moment, names) if held.promise is not None else ()
    return (*((wants_key,) if wants_key else ()), *differ)


def _read(task: _Task, past: _Past) -> Moment:
    meters = task.world.meters
    at = meters.now()
    engine = None
    pid = task.pid
    if task.base is not None:
        engine = read_engine(meters, task.base, at, task.engine, past.engine, task.key_file)
        pid = pid or meters.listener(task.base)
        if engine.facts is not None or task.started:
            told = engine.facts or ()
            names = {fact.name for fact in told}
            engine = replace(engine, facts=(*told, *(fact for fact in task.started if fact.name not in names)))
    return Moment(at=at, devices=meters.devices(at), host=behind_serve(task.world, meters.host(at, pid)), engine=engine)


def _tell(task: _Task, seen: Watched, past: _Past) -> tuple[str, ...]:
    """Publish and post what is to be; what is to be said about that."""
    notes = []
    if task.prometheus is not None:
        notes.append(f"metrics at {task.world.outlets.publish(task.prometheus, watch_metrics(seen))}")
    if task.webhook is not None:
        now, before = ({(alarm.kind, alarm.subject): alarm for alarm in alarms} for alarms in (seen.alarms, past.alarms))
        raised = tuple(alarm for key, alarm in now.items() if key not in before)
        cleared = tuple(alarm for key, alarm in before.items() if key not in now)
        failed = (
            task.world.outlets.post(task.webhook, wire.dumps(alarm_values(seen.moment.at, raised, cleared, seen.alarms)))
            if raised or cleared
            else None
        )
        notes += [f"the webhook was not told: {failed}"] if failed is not None else []
    return tuple(notes)


VERB = Verb(
    name="watch",
    help="Show what was promised and what is there, live, with alarms: ullage watch [OPTIONS] [URL] [-- COMMAND].",
    run=run,
    options=(*_WATCH, *_PROMISE, *MACHINE, *WORKLOAD, *PLACEMENT, *ENGINE, *FORMATS),
    argument=Argument("target", "target", "The engine's address, http://127.0.0.1:8000; and after -- the command it was started with."),
)
