"""One trial: the engine started with its settings, loaded until it is enough, watched meanwhile, and stopped with all it started."""

from typing import NamedTuple

from ullage.commands.serve import NoDoor
from ullage.commands.serving import key_of
from ullage.commands.tuning import Tuning
from ullage.domain.load import Load, Loading, Round
from ullage.domain.machine import HOST
from ullage.domain.reading import DeviceReading
from ullage.domain.supervision import Action, Event, Launch, Phase, Policy, Run, Say, Started, State, StopAsked, Tick
from ullage.domain.tuning import Estimate, Objective
from ullage.planning.launch import LOCAL
from ullage.planning.supervise import begin, step
from ullage.planning.tune_compare import estimate, half_width, is_enough
from ullage.ports import Care, World
from ullage.units import counted, format_bytes

_TERM = 15
_LOOK_S, _SAY_S, _LEAVE_S = 1.0, 15.0, 10.0
_LEAST_FREE = 0.02  # of the host: below it a trial is ended before the kernel ends something else
_LEAST_LEFT = 0.005  # of a device: below it a step goes back before an allocation fails
_FEWEST_ROUNDS = 3
_LOST = 0.6  # of the best so far: a trial that stays below it needs no third round
_START_S = 900.0
_LAST_LETTERS = 200


class Measured(NamedTuple):
    """What a trial gave. ``problem`` is empty where it went well; ``was_stopped`` where a person ended it."""

    rounds: tuple[Round, ...]
    seconds: float
    seen_bytes: int | None
    device: str
    problem: str = ""
    was_stopped: bool = False


class MeasuringDoor(NoDoor):
    """Loads the engine as soon as it is ready."""

    def __init__(self, world: World, load: Load, key: str | None, enough: "Enough") -> None:
        self._world, self._load, self._key, self._enough = world, load, key, enough
        self.loading: Loading | None = None

    def engine_ready(self, url: str, launch: Launch) -> None:  # noqa: ARG002 - as the port says
        """Begin."""
        self.loading = self._world.bench(url, self._key, self._load, self._enough)


class Enough:
    """Whether rounds tell enough: a narrow interval of what is compared, or the trial's time is out."""

    def __init__(self, objective: Objective, trial_s: float, best: Estimate | None = None) -> None:
        self._objective, self._trial_s, self._best = objective, trial_s, best
        self.unit = "s to the first token" if objective is Objective.TTFT else "tokens/s"

    def values(self, rounds: tuple[Round, ...]) -> list[float]:
        """What is compared, of each round."""
        return [one.first_s if self._objective is Objective.TTFT else one.tokens_per_s for one in rounds]

    def __call__(self, rounds: tuple[Round, ...], seconds: float) -> bool:
        """At least three rounds; then as the class says, where another round would not end in time either. Two where all is lost."""
        if len(rounds) < _FEWEST_ROUNDS:
            return len(rounds) == _FEWEST_ROUNDS - 1 and self._is_lost(self.values(rounds))
        return is_enough(self.values(rounds)) or seconds + seconds / len(rounds) > self._trial_s

    def _is_lost(self, values: list[float]) -> bool:
        """Whether every round is so far from the best so far that a third would change nothing."""
        if self._best is None:
            return False
        if self._objective is Objective.TTFT:
            return min(values) * _LOST > self._best.mean
        return max(values) < _LOST * self._best.mean


class Watcher:
    """Decides as the supervisor does, ends the engine when its load is over, and reads memory meanwhile."""

    def __init__(self, world: World, door: MeasuringDoor, enough: Enough, device: str) -> None:
        self._world, self._door, self._enough = world, door, enough
        self._device = device
        self._pid: int | None = None
        self.most_bytes: int | None = None
        self.low, self.is_done, self.was_stopped = "", False, False
        self._looked = self._said = 0.0
        self._said_rounds = 0

    def decide(self, state: State, event: Event) -> tuple[State, tuple[Action, ...]]:
        """The supervisor's answer, without what it would tell a person who serves."""
        if isinstance(event, StopAsked):
            self.was_stopped = True
        if isinstance(event, Started):
            self._pid = event.pid
        told: tuple[Action, ...] = ()
        if isinstance(event, Tick) and self._pid is not None and not state.phase.is_end:
            self._look(event.at)
            told = self._progress(event.at)
        loading = self._door.loading
        is_over = (loading is not None and loading.is_over) or bool(self.low)
        if isinstance(event, Tick) and is_over and state.phase is Phase.READY and not state.stop_asked:
            self.is_done = True
            event = StopAsked(at=event.at, signal=_TERM)
        after, actions = step(state, event)
        return after, (*told, *(action for action in actions if not isinstance(action, Say)))

    def _look(self, at: float) -> None:
        if at - self._looked < _LOOK_S:
            return
        self._looked = at
        host = self._world.meters.host(self._world.meters.now(), self._pid)
        processes = host.processes or ()
        if host.available_bytes is not None and host.total_bytes and host.available_bytes < _LEAST_FREE * host.total_bytes:
            self.low = f"memory ran low while it was loaded: {format_bytes(host.available_bytes)} were left on the host"
        if self._device in {HOST, "cpu"}:  # which the host's memory speaks for
            held = [found for one in processes if (found := one.pss_bytes if one.pss_bytes is not None else one.resident_bytes) is not None]
            used = sum(held) if held else None
        else:
            pids = frozenset(one.pid for one in processes)
            readings = self._world.meters.devices(self._world.meters.now())
            seen = next((one for one in readings if one.device == self._device), None)
            used = seen.held_by(pids) if seen is not None else None
            self._look_at(seen)
        if used is not None:
            self.most_bytes = max(self.most_bytes or 0, used)

    def _look_at(self, seen: DeviceReading | None) -> None:
        """Under load, as a profile run at the start may fill a device for a moment."""
        if seen is None or seen.free_bytes is None or not seen.total_bytes or self._door.loading is None:
            return
        if seen.free_bytes < _LEAST_LEFT * seen.total_bytes:
            self.low = f"memory ran low while it was loaded: {format_bytes(seen.free_bytes)} were left on {self._device}"

    def _progress(self, at: float) -> tuple[Action, ...]:
        """Now and then what is known so far."""
        loading = self._door.loading
        if loading is None or len(loading.rounds) <= self._said_rounds or at - self._said < _SAY_S:
            return ()
        self._said, self._said_rounds = at, len(loading.rounds)
        values = self._enough.values(loading.rounds)
        found = estimate(values)
        width = f" +-{half_width(found) / found.mean:.1%}" if found.count > 1 and found.mean else ""
        return (Say(text=f"  {counted(len(values), 'round')}: {found.mean:.4g} {self._enough.unit}{width}"),)


def run_trial(tuning: Tuning, launch: Launch, world: World, port: int, policy: Policy, said: str, device: str, enough: Enough) -> Measured:
    """Run one. Raises WorldError."""
    key = key_of(tuning.serving, world)
    door = MeasuringDoor(world, tuning.load, key, enough)
    watcher = Watcher(world, door, enough, device)
    ended: list[Run] = []
    began = world.meters.now()
    state = world.processes.keep(
        launch,
        Care(
            begin=lambda first, at: _begin(first, policy, at, said),
            decide=watcher.decide,
            read_line=tuning.engine.read_log_line,
            record=ended.append,
            door=door,
            server=tuning.serving.server,
            host=LOCAL,
            port=port,
            key=key,
            is_quiet=True,
            is_silent=True,
        ),
    )
    if door.loading is not None:
        door.loading.wait(_LEAVE_S)
    rounds = door.loading.rounds if door.loading is not None else ()
    problem = _problem(watcher, door, state, ended)
    took = world.meters.now() - began
    if watcher.was_stopped and not watcher.is_done:
        return cut_short(Measured(rounds, took, watcher.most_bytes, device, problem))
    return Measured(rounds, took, watcher.most_bytes, device, problem)


def cut_short(measured: Measured) -> Measured:
    """One that a person ended: without the round that was on; as many as a trial takes at least are a trial."""
    whole = tuple(one for one in measured.rounds if len(one.good) == len(one.answered))
    problem = "" if len(whole) >= _FEWEST_ROUNDS else measured.problem or "it was stopped"
    return measured._replace(rounds=whole, problem=problem, was_stopped=True)


def _begin(first: Launch, policy: Policy, at: float, said: str) -> tuple[State, tuple[Action, ...]]:
    state, actions = begin(first, policy, at)
    return state, (Say(text=said), *actions)


def _problem(watcher: Watcher, door: MeasuringDoor, state: State, ended: list[Run]) -> str:
    """What went wrong, the engine's own end first."""
    if watcher.low:
        return watcher.low
    if not watcher.is_done:
        return _end(ended[-1]) if ended else state.reason
    return door.loading.problem if door.loading is not None else ""


def _end(run: Run) -> str:
    """Why it ended, with the last that it wrote where nothing of that was understood."""
    last = next((line.strip() for line in reversed(run.log) if line.strip()), "")
    return f"{run.reason}; its last line: {last[:_LAST_LETTERS]}" if last and not run.facts else run.reason


def patience(start_s: int | None) -> Policy:
    """A trial that fails is not tried again."""
    return Policy(most_failures=1, most_steps=0, start_seconds=float(start_s or _START_S), grace_seconds=15.0)
