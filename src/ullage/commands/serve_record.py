"""What remembers a run that ``serve`` keeps: looks at it while it is well, and stores what was promised and seen when it ends."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ullage.commands.serving import Serving
from ullage.domain.baseline import Exit, Figure, OutOfMemory, Promised
from ullage.domain.baseline import Run as Stored
from ullage.domain.case import Case
from ullage.domain.machine import HOST
from ullage.domain.supervision import Event, Kind, Launch, Run, Started
from ullage.errors import UllageError
from ullage.frozen import replace
from ullage.planning.answer import answer
from ullage.planning.diagnose_meaning import limit_of
from ullage.planning.record import promised_of, run_of
from ullage.planning.seen import Look, Readings, with_log, with_look
from ullage.planning.tally import growth_of, seen_of
from ullage.planning.watch import host_bytes
from ullage.ports import Door, World

_EXITS = {Kind.STOPPED: Exit.STOPPED, Kind.OUT_OF_MEMORY: Exit.OUT_OF_MEMORY}
_LONGEST_NOTE = 500


class Recorder:
    """Looks and remembers. What cannot be read or written never ends an engine."""

    def __init__(self, world: World, serving: Serving, answers: Callable[[], tuple[Figure, ...]] = tuple) -> None:
        self._answers = answers  # what the guard saw of them
        self._world, self._serving = world, serving
        self._pid: int | None = None
        self._readings, self._promised = Readings(), tuple[Promised, ...]()
        self._device = ""
        if serving.case is not None:
            self._expect(serving.case)

    def heard(self, event: Event) -> None:
        """A new process has new readings."""
        if isinstance(event, Started):
            self._pid, self._readings = event.pid, Readings()

    def ready(self, launch: Launch) -> None:
        """What is promised is that of this launch."""
        if launch.case is not None:
            self._expect(launch.case)

    def look(self, page: str) -> None:
        """One look; ``page`` is the engine's own, empty where it has none."""
        if not self._promised or self._pid is None:
            return
        try:
            facts = self._serving.engine.read_metrics(page) if page else ()
            look = Look(device=self._device, own_bytes=self._own_bytes(self._pid), facts=facts)
            self._readings = with_look(self._readings, self._promised, look)
        except UllageError:
            return

    def remember(self, ended: Run) -> str:
        """Store a run that ended; returns what is to be said where that could not be done."""
        if ended.launch.case is None:
            return ""
        try:
            self._world.store.append(self._stored(ended, ended.launch.case))
        except UllageError as error:
            return f"this run is not remembered: {error}"
        return ""

    def _expect(self, case: Case) -> None:
        try:
            engine = self._serving.engine
            resolved = engine.resolve(case)
            self._promised = promised_of(engine.ledger(resolved))
            self._device = resolved.devices[0].id if resolved.devices else HOST
        except UllageError:
            self._promised = ()

    def _own_bytes(self, pid: int) -> int | None:
        """The engine's bytes on the first device; host memory where that is a processor."""
        meters = self._world.meters
        at = meters.now()
        host = meters.host(at, pid)
        case = self._serving.case
        if case is None or not case.devices or case.devices[0].kind == "cpu":
            alone = host.processes[0] if host.processes and len(host.processes) == 1 else None
            return alone.resident_bytes if alone is not None else host_bytes(host)
        pids = frozenset(one.pid for one in host.processes or ())
        return next((one.held_by(pids) for one in meters.devices(at) if one.device == self._device), None)

    def _stored(self, ended: Run, case: Case) -> Stored:
        now = datetime.now(UTC)
        began = now - timedelta(seconds=ended.ended_at - ended.started_at)
        figures = (Figure(name="ready", value=ended.ready_seconds, unit="seconds"),) if ended.ready_seconds is not None else ()
        made = run_of(answer(self._serving.engine, case, remedies=False), id=self._world.store.new_id(), started_at=began)
        readings = with_log(self._readings, made.promised, self._device, ended.facts)
        killed = Exit.KILLED if ended.signal is not None else Exit.CRASHED
        return replace(
            made,
            ended_at=now,
            exit=_EXITS.get(ended.kind, killed),
            seen=seen_of(readings.tally),
            growth=growth_of(readings.tally),
            out_of_memory=_deaths(ended, now, self._device),
            figures=(*figures, *self._answers()),
            note=f"{ended.kind}: {ended.reason}"[:_LONGEST_NOTE],
            log=() if ended.kind is Kind.STOPPED else ended.log,
        )


def _deaths(ended: Run, now: datetime, device: str) -> tuple[OutOfMemory, ...]:
    """The last failed allocation of a run that ran out of memory, as far as it was told."""
    if ended.kind is not Kind.OUT_OF_MEMORY:
        return ()
    told = [fact for fact in ended.facts if limit_of(fact.name) is not None]
    details = dict(told[-1].details) if told else {}
    wanted, free = details.get("requested_bytes"), details.get("free_bytes")
    return (
        OutOfMemory(
            at=now,
            device=device,
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
        self._door.pulse(at, page)
