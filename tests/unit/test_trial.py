"""A trial's decisions: when it has measured enough, and what ends it early."""

from types import SimpleNamespace
from typing import Any

import pytest

from ullage.commands.trial import Enough, Measured, MeasuringDoor, Watcher, cut_short, patience
from ullage.domain.load import Answered, Load, Round
from ullage.domain.plan import Command
from ullage.domain.reading import DeviceReading, HostReading, ProcessMemory
from ullage.domain.supervision import (
    AnsweredARequest,
    Drained,
    Exited,
    Healthy,
    Launch,
    Phase,
    RecordRun,
    Say,
    Started,
    State,
    Stop,
    StopAsked,
    Tick,
)
from ullage.domain.tuning import Estimate, Objective
from ullage.planning.supervise import begin

GIB = 1 << 30


def rounds(*speeds: float) -> tuple[Round, ...]:
    return tuple(Round(seconds=10 / speed, answered=(Answered(first_s=0.1 / speed, last_s=1.0, tokens=10),)) for speed in speeds)


@pytest.mark.parametrize("objective", list(Objective))
def test_a_trial_repeats_until_it_knows_enough_or_its_time_is_out(objective: Objective) -> None:
    enough = Enough(objective, 60.0)
    assert not enough(rounds(10.0), 1.0)
    assert not enough(rounds(10.0, 14.0, 7.0), 3.0)
    assert enough(rounds(10.0, 10.01, 9.99, 10.0), 4.0)
    assert enough(rounds(10.0, 14.0, 7.0), 59.0)
    assert not enough(rounds(10.0), 600.0), "one round says nothing of its scatter, and two little"
    assert not enough(rounds(10.0, 10.0), 600.0)


def test_two_rounds_are_enough_where_all_is_lost_against_the_best() -> None:
    best = Estimate(mean=10.0, deviation=0.1, count=3)
    assert Enough(Objective.THROUGHPUT, 60.0, best)(rounds(5.0, 4.0), 1.0)
    assert not Enough(Objective.THROUGHPUT, 60.0, best)(rounds(5.0, 7.0), 1.0)
    assert not Enough(Objective.THROUGHPUT, 60.0, best)(rounds(5.0), 1.0)
    first = Estimate(mean=0.01, count=3)
    assert Enough(Objective.TTFT, 60.0, first)(rounds(5.0, 4.0), 1.0)
    assert not Enough(Objective.TTFT, 60.0, first)(rounds(9.0, 4.0), 1.0)


def test_of_a_trial_that_was_stopped_the_round_that_was_on_is_left_out_and_three_are_a_trial() -> None:
    failed = Round(seconds=1.0, answered=(Answered(first_s=1.0, last_s=1.0, tokens=0, why="a request was not answered"),))
    kept = cut_short(Measured((*rounds(10.0, 11.0, 12.0), failed), 9.0, None, "host", "it was asked to stop"))
    assert (kept.rounds, kept.problem, kept.was_stopped) == (rounds(10.0, 11.0, 12.0), "", True)
    few = cut_short(Measured((*rounds(10.0, 11.0), failed), 9.0, None, "host", "it was asked to stop"))
    assert (few.rounds, few.problem, few.was_stopped) == (rounds(10.0, 11.0), "it was asked to stop", True)


class Meters:
    def __init__(self, available: int, free: int | None = None) -> None:
        self.available, self.free = available, free

    def devices(self, at: float) -> tuple[DeviceReading, ...]:
        return (DeviceReading(device="gpu0", kind="cuda", name="G", at=at, total_bytes=24 * GIB, free_bytes=self.free),)

    def now(self) -> float:
        return 0.0

    def host(self, at: float, pid: int | None) -> HostReading:
        used = (
            ProcessMemory(pid=pid or 0, parent=0, name="engine", pss_bytes=3 * GIB),
            ProcessMemory(pid=2, parent=1, name="w", anon_bytes=GIB),
        )
        return HostReading(at=at, total_bytes=100 * GIB, available_bytes=self.available, processes=used)


class Loading:
    rounds: tuple[Round, ...] = ()
    is_over, problem = False, ""


def ready(available: int = 50 * GIB, device: str = "cpu", free: int | None = None) -> tuple[Watcher, State, Loading]:
    loading = Loading()
    world: Any = SimpleNamespace(meters=Meters(available, free), bench=lambda *_: loading)
    enough = Enough(Objective.THROUGHPUT, 60.0)
    door = MeasuringDoor(world, Load(requests=(), clients=1, vocabulary=9), None, enough)
    watcher = Watcher(world, door, enough, device)
    launch = Launch(command=Command(argv=("engine",)))
    state, _ = begin(launch, patience(None), 0.0)
    for event in (Started(at=0.0, pid=7), Healthy(at=1.0), AnsweredARequest(at=2.0)):
        state, _ = watcher.decide(state, event)
    door.engine_ready("http://127.0.0.1:1", launch)
    assert state.phase is Phase.READY
    return watcher, state, loading


def test_the_engine_is_stopped_when_its_load_is_over_and_nobody_is_told_of_serving() -> None:
    watcher, state, loading = ready()
    state, actions = watcher.decide(state, Tick(at=3.0))
    assert not any(isinstance(action, Stop | Say) for action in actions)
    assert watcher.most_bytes == 4 * GIB
    loading.rounds, loading.is_over = rounds(10.0), True
    state, actions = watcher.decide(state, Tick(at=20.0))
    assert [action.text for action in actions if isinstance(action, Say)] == ["  1 round: 10 tokens/s"]
    state, actions = watcher.decide(state, Drained(at=20.0))
    assert any(isinstance(action, Stop) for action in actions)
    state, actions = watcher.decide(state, Exited(at=21.0, code=0))
    assert state.phase is Phase.STOPPED
    assert any(isinstance(action, RecordRun) for action in actions)
    assert watcher.is_done
    assert not watcher.was_stopped


def test_a_trial_ends_before_the_host_runs_out() -> None:
    watcher, state, _ = ready(available=GIB)
    state, _ = watcher.decide(state, Tick(at=3.0))
    _, actions = watcher.decide(state, Drained(at=3.0))
    assert any(isinstance(action, Stop) for action in actions)
    assert "1.00 GiB were left" in watcher.low


def test_a_trial_ends_before_a_device_runs_out_and_a_reading_that_is_not_told_says_nothing() -> None:
    watcher, state, _ = ready(device="gpu0", free=100 << 20)
    state, _ = watcher.decide(state, Tick(at=3.0))
    _, actions = watcher.decide(state, Drained(at=3.0))
    assert any(isinstance(action, Stop) for action in actions)
    assert "100.0 MiB were left on gpu0" in watcher.low
    watcher, state, _ = ready(device="gpu0", free=None)
    _, actions = watcher.decide(state, Tick(at=3.0))
    assert not watcher.low


def test_an_engine_that_dies_under_its_load_is_not_started_again() -> None:
    watcher, state, _ = ready()
    state, _ = watcher.decide(state, Exited(at=4.0, signal=9))
    assert state.phase is Phase.GIVEN_UP
    assert not watcher.is_done


def test_a_person_who_stops_it_is_not_taken_for_the_end_of_the_load() -> None:
    watcher, state, _ = ready()
    watcher.decide(state, StopAsked(at=4.0, signal=2))
    assert watcher.was_stopped
    assert not watcher.is_done
