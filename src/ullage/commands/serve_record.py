"""What remembers a run that ``serve`` keeps: looks at it while it is well, and stores what was promised and seen when it ends."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from ullage.commands.released import as_told, differs, driver_of, told
from ullage.commands.serving import Serving
from ullage.domain.baseline import Exit, Figure, OutOfMemory, Promised
from ullage.domain.baseline import Run as Stored
from ullage.domain.case import Case
from ullage.domain.facts import Fact
from ullage.domain.machine import HOST
from ullage.domain.supervision import Event, Kind, Launch, Line, Run, Say, Started, Tick
from ullage.errors import UllageError
from ullage.frozen import replace
from ullage.planning.answer import answer
from ullage.planning.diagnose_meaning import limit_of
from ullage.planning.ranks import rank_of, tagged
from ullage.planning.record import promised_of, run_of
from ullage.planning.seen import Look, Readings, with_log, with_look
from ullage.planning.tally import growth_of, seen_of
from ullage.planning.watch import host_bytes
from ullage.ports import Door, World

_EXITS = {Kind.STOPPED: Exit.STOPPED, Kind.OUT_OF_MEMORY: Exit.OUT_OF_MEMORY}
_LONGEST_NOTE, _MOST_FACTS = 500, 500
_STORE_SECONDS = 120.0  # what a run that is killed with its front loses at most


class Recorder:
    """Looks and remembers, from when an engine is ready. What cannot be read or written never ends one."""

    def __init__(self, world: World, serving: Serving, answers: Callable[[], tuple[Figure, ...]] = tuple) -> None:
        self._answers = answers  # what the guard saw of them
        self._world, self._serving = world, serving
        self._pid: int | None = None
        self._readings, self._promised = Readings(), tuple[Promised, ...]()
        self._facts: list[Fact] = []
        self._case, self._devices = serving.case, tuple[str, ...]()
        self._release = serving.release
        self._id = world.store.new_id()
        self._made: Stored | None = None
        self._ended: Stored | None = None
        self._trouble, self._is_said = "", False
        self._began = datetime.now(UTC)
        self._ready_seconds: float | None = None
        self._due: float | None = None
        if serving.case is not None:
            self._expect(serving.case)

    def read(self, line: str) -> Fact | None:
        """What a line of the engine's log states, and of which of its ranks."""
        fact = self._serving.engine.read_log_line(line)
        return fact if fact is None or self._case is None else tagged(fact, line, self._case.parallel)

    def heard(self, event: Event) -> tuple[Say, ...]:
        """A new process has new readings; returns what is to be said of what it told."""
        if isinstance(event, Started):
            self._pid, self._readings, self._facts = event.pid, Readings(), []
            self._release, self._id, self._due = self._serving.release, self._world.store.new_id(), None
            self._began, self._ready_seconds = datetime.now(UTC), None
        if isinstance(event, Line):
            return self._told(event.fact)
        if isinstance(event, Tick) and self._trouble and not self._is_said:
            self._is_said = True
            return (Say(text=f"this run is not remembered as it goes on: {self._trouble}"),)
        return ()

    def ready(self, launch: Launch) -> None:
        """What is promised is that of this launch; from now on the run is remembered even where nobody hears of its end."""
        self._ready_seconds = (datetime.now(UTC) - self._began).total_seconds()
        if launch.case is not None:
            self._expect(launch.case)
            self._due = 0.0

    def look(self, page: str) -> None:
        """One look; ``page`` is the engine's own, empty where it has none."""
        if not self._promised or self._pid is None:
            return
        try:
            facts = self._serving.engine.read_metrics(page) if page else ()
            self._readings = with_look(self._readings, self._promised, Look(own=self._own_bytes(self._pid), facts=facts))
        except UllageError:
            return

    def remember(self, ended: Run) -> str:
        """Store a run that ended; returns what is to be said where that could not be done."""
        self._due = None
        if ended.launch.case is None:
            return ""
        killed = Exit.KILLED if ended.signal is not None else Exit.CRASHED
        try:
            self._case = ended.launch.case
            errors = (fact for fact in ended.facts if fact.is_error)  # its other facts are only the last ones
            now = datetime.now(UTC)
            self._ready_seconds = ended.ready_seconds
            self._ended = replace(
                self._so_far(self._case, now - timedelta(seconds=ended.ended_at - ended.started_at), (*self._facts, *errors)),
                ended_at=now,
                exit=_EXITS.get(ended.kind, killed),
                out_of_memory=_deaths(ended, now, self._devices or (HOST,)),
                note=f"{ended.kind}: {ended.reason}"[:_LONGEST_NOTE],
                log=() if ended.kind is Kind.STOPPED else ended.log,
            )
            self._world.store.append(self._ended)
        except UllageError as error:
            return f"this run is not remembered: {error}"
        return ""

    def keep(self, at: float) -> None:
        """Now and then store a run that goes on; its end takes the same place, also where it came as this was being written.

        Not for the thread that keeps the engine: a driver may hang, and a store may be locked.
        """
        if self._due is None or at < self._due or self._case is None:
            return
        self._due = at + _STORE_SECONDS
        try:
            going = self._so_far(self._case, self._began, tuple(self._facts))
            self._world.store.append(going)
            if self._ended is not None and self._ended.id == going.id:
                self._world.store.append(self._ended)
        except UllageError:  # which is said at its end
            return
        except Exception as error:  # noqa: BLE001 - what cannot be remembered does not make the engine unwell
            self._trouble = f"{type(error).__name__}: {error}"

    def _told(self, fact: Fact) -> tuple[Say, ...]:
        if len(self._facts) < _MOST_FACTS:
            self._facts.append(fact)
        release = told(fact)
        if release is None or release == self._release or self._case is None:
            return ()
        self._release = release
        said = differs(self._serving.engine.profile, release, self._case.version)
        return (Say(text=said),) if said else ()

    def _expect(self, case: Case) -> None:
        self._case = case
        try:
            engine = self._serving.engine
            resolved = engine.resolve(case)
            self._promised = promised_of(engine.ledger(resolved))
            self._devices = tuple(device.id for device in resolved.devices) or (HOST,)
        except UllageError:
            self._promised = ()

    def _own_bytes(self, pid: int) -> tuple[tuple[str, int | None], ...]:
        """The engine's bytes on each device that it uses; host memory where the first is a processor."""
        meters = self._world.meters
        at = meters.now()
        host = meters.host(at, pid)
        if self._case is None or not self._case.devices or self._case.devices[0].kind == "cpu":
            alone = host.processes[0] if host.processes and len(host.processes) == 1 else None
            return ((self._devices[0], alone.resident_bytes if alone is not None else host_bytes(host)),)
        pids = frozenset(one.pid for one in host.processes or ())
        seen = {one.device: one for one in meters.devices(at)}
        return tuple((device, seen[device].held_by(pids) if device in seen else None) for device in self._devices)

    def _so_far(self, case: Case, began: datetime, facts: Iterable[Fact]) -> Stored:
        """The run as far as it has come."""
        id_, made = self._id, self._made
        if made is None or made.id != id_:
            plan = answer(self._serving.engine, as_told(self._serving.engine, case, self._release), remedies=False)
            self._made = made = run_of(plan, id=id_, started_at=began, driver=driver_of(self._world, case))
        made = replace(made, version=str(self._release or case.version))
        readings = with_log(self._readings, made.promised, self._devices, facts)
        seconds = self._ready_seconds
        figures = (Figure(name="ready", value=seconds, unit="seconds"),) if seconds is not None else ()
        return replace(made, seen=seen_of(readings.tally), growth=growth_of(readings.tally), figures=(*figures, *self._answers()))


def _deaths(ended: Run, now: datetime, devices: tuple[str, ...]) -> tuple[OutOfMemory, ...]:
    """The last failed allocation of a run that ran out of memory, as far as it was told."""
    if ended.kind is not Kind.OUT_OF_MEMORY:
        return ()
    told = [fact for fact in ended.facts if limit_of(fact.name) is not None]
    details = dict(told[-1].details) if told else {}
    rank = rank_of(told[-1]) if told else None
    wanted, free = details.get("requested_bytes"), details.get("free_bytes")
    return (
        OutOfMemory(
            at=now,
            device=devices[rank] if rank is not None and 0 <= rank < len(devices) else devices[0],
            wanted_bytes=wanted if isinstance(wanted, int) else None,
            free_bytes=free if isinstance(free, int) else None,
            text=ended.reason[:_LONGEST_NOTE],
        ),
    )


class RecordingDoor:
    """A door that has the recorder look through it."""

    def __init__(self, door: Door, recorder: Recorder) -> None:
        self._door, self._recorder = door, recorder

    def start(self) -> None:
        """As the port says."""
        self._door.start()

    def stop(self) -> None:
        """As the port says."""
        self._door.stop()

    def engine_ready(self, url: str, launch: Launch) -> None:
        """As the port says."""
        self._recorder.ready(launch)
        self._door.engine_ready(url, launch)

    def engine_died(self) -> None:
        """As the port says."""
        self._door.engine_died()

    def engine_gone(self) -> None:
        """As the port says."""
        self._door.engine_gone()

    def drain(self) -> bool:
        """As the port says."""
        return self._door.drain()

    def pulse(self, at: float, page: str) -> None:
        """As the port says."""
        self._recorder.look(page)
        try:
            self._door.pulse(at, page)
        finally:
            self._recorder.keep(at)
