"""A run as it is remembered while it goes on and when it ends."""

from types import SimpleNamespace
from typing import Any

import pytest
from tests.cases import raw_vllm_case

from ullage.commands.serve_record import Recorder
from ullage.domain.baseline import Exit, Run
from ullage.domain.case import Version
from ullage.domain.facts import Fact
from ullage.domain.ledger import Purpose
from ullage.domain.plan import Command
from ullage.domain.reading import DeviceReading, HostReading, ProcessMemory, ProcessUse
from ullage.domain.supervision import Kind, Launch, Line, Say, Started, Tick
from ullage.domain.supervision import Run as Ended
from ullage.engines import find
from ullage.errors import WorldError
from ullage.frozen import replace
from ullage.planning.record import promised_of
from ullage.units import GiB

ENGINE, WORKER = 100, 101
CASE = raw_vllm_case("Qwen3-8B", "0.10.2", devices=2, tensor=2, context=4096)
LAUNCH = Launch(command=Command(argv=("vllm",)), case=CASE)


class Kept:
    """A store in a dictionary, which may be full."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.appended, self.is_full = 0, False

    def append(self, run: Run) -> None:
        if self.is_full:
            raise WorldError("no space is left")
        self.runs[run.id] = run
        self.appended += 1

    def new_id(self) -> str:
        return f"run-{len(self.runs)}"


def card(device: str, **held: int) -> DeviceReading:
    uses = tuple(ProcessUse(pid=int(pid.removeprefix("p")), nbytes=nbytes) for pid, nbytes in held.items())
    return DeviceReading(device=device, kind="cuda", name="card", at=0.0, processes=uses, driver="580.65.06")


@pytest.fixture
def store() -> Kept:
    return Kept()


@pytest.fixture
def recorder(store: Kept) -> Recorder:
    processes = tuple(ProcessMemory(pid=pid, parent=1, name="engine") for pid in (ENGINE, WORKER))
    cards = (card("gpu0", p100=30 * GiB, p7=GiB), card("gpu1", p101=31 * GiB), card("gpu2", p7=9 * GiB))
    meters = SimpleNamespace(now=lambda: 0.0, host=lambda at, _pid: HostReading(at=at, processes=processes), devices=lambda _: cards)
    serving: Any = SimpleNamespace(engine=find("vllm"), case=CASE, release=None)
    made = Recorder(SimpleNamespace(meters=meters, store=store), serving)  # type: ignore[arg-type]
    made.heard(Started(at=1.0, pid=ENGINE))
    return made


def ended(**said: object) -> Ended:
    values: dict[str, Any] = {"started_at": 1.0, "ended_at": 9.0, "ready_seconds": 2.0, "kind": Kind.STOPPED, "reason": "as asked", **said}
    return Ended(launch=LAUNCH, **values)


def test_a_run_is_stored_when_it_is_ready_and_now_and_then_and_its_end_takes_the_same_place(recorder: Recorder, store: Kept) -> None:
    recorder.keep(2.0)
    assert store.appended == 0
    recorder.ready(LAUNCH)
    for at in (3.0, 3.2, 60.0, 124.0, 125.0):
        recorder.keep(at)
    (run,) = store.runs.values()
    assert (store.appended, run.exit, run.ended_at, [one.name for one in run.figures]) == (2, Exit.RUNNING, None, ["ready"])
    assert recorder.remember(ended()) == ""
    recorder.keep(999.0)
    assert [one.exit for one in store.runs.values()] == [Exit.STOPPED]
    recorder.heard(Started(at=1000.0, pid=ENGINE))
    recorder.remember(ended())
    assert len(store.runs) == 2


def test_what_was_told_at_the_start_is_remembered_at_the_end_however_much_was_told_since(recorder: Recorder, store: Kept) -> None:
    recorder.heard(Line(at=2.0, fact=Fact(name="weights_bytes", value=8 * GiB, unit="bytes", details=(("rank", 0),))))
    recorder.ready(LAUNCH)
    recorder.remember(ended(facts=(Fact(name="kv_cache_usage", value=0.5),) * 256))
    (run,) = store.runs.values()
    assert Purpose.WEIGHTS in {one.purpose for one in run.seen}


def test_a_store_that_is_full_is_told_of_at_the_end_and_ends_no_engine(recorder: Recorder, store: Kept) -> None:
    store.is_full = True
    recorder.ready(LAUNCH)
    recorder.keep(3.0)
    assert "no space is left" in recorder.remember(ended())


def test_the_loop_that_keeps_the_engine_stores_nothing_that_goes_on(recorder: Recorder, store: Kept) -> None:
    recorder.ready(LAUNCH)
    assert recorder.heard(Tick(at=3.0)) == ()
    assert store.appended == 0


def test_a_store_that_breaks_is_said_once_and_ends_no_engine(recorder: Recorder, store: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "append", lambda _: 1 // 0)
    recorder.ready(LAUNCH)
    for at in (3.0, 200.0):
        recorder.keep(at)
    said = [say.text for at in (3.0, 4.0) for say in recorder.heard(Tick(at=at))]
    assert said == ["this run is not remembered as it goes on: ZeroDivisionError: integer division or modulo by zero"]


def test_an_end_that_comes_as_the_run_is_being_stored_stays(recorder: Recorder, store: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    append = store.append

    def slowly(run: Run) -> None:
        monkeypatch.setattr(store, "append", append)
        recorder.remember(ended())
        append(run)

    monkeypatch.setattr(store, "append", slowly)
    recorder.ready(LAUNCH)
    recorder.keep(3.0)
    assert [one.exit for one in store.runs.values()] == [Exit.STOPPED]


def test_every_device_that_the_engine_uses_is_seen_with_what_is_its_own_and_the_driver(recorder: Recorder, store: Kept) -> None:
    recorder.ready(LAUNCH)
    recorder.look("")
    recorder.keep(3.0)
    (run,) = store.runs.values()
    assert {one.device: run.own_bytes(one) for one in run.seen} == {"gpu0": 30 * GiB, "gpu1": 31 * GiB}
    assert {one.device for one in run.promised} >= {"gpu0", "gpu1"}
    assert run.machine.driver == "580.65.06"


def test_the_release_of_the_log_is_said_where_another_was_planned_and_the_promise_is_by_its_rules(recorder: Recorder, store: Kept) -> None:
    line = Line(at=2.0, fact=Fact(name="version", value="0.19.1"))
    (said,) = recorder.heard(line)
    assert isinstance(said, Say)
    assert "vLLM 0.19.1 is what starts here, and it is planned as 0.10.2" in said.text
    assert recorder.heard(line) == ()
    recorder.remember(ended())
    (run,) = store.runs.values()
    assert run.version == "0.19.1"
    assert run.promised == _promised_by("0.19.1")
    assert run.promised != _promised_by("0.10.2")


def test_a_release_of_no_known_rules_is_remembered_by_its_name(recorder: Recorder, store: Kept) -> None:
    (said,) = recorder.heard(Line(at=2.0, fact=Fact(name="version", value="9.1.0")))
    assert "the rules of 9.1.0 are not known" in said.text
    recorder.remember(ended())
    (run,) = store.runs.values()
    assert (run.version, run.promised) == ("9.1.0", _promised_by("0.10.2"))


def _promised_by(release: str) -> object:
    case = replace(CASE, version=Version.of(release))
    return promised_of(find("vllm").ledger(find("vllm").resolve(case)))
