"""What ``watch`` holds an engine to where nobody repeats what it was started with."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from tests.watching import host

from ullage.commands.held_to import Held, held_now, held_to
from ullage.commands.running import behind_serve
from ullage.commands.verb import Flags
from ullage.commands.watch import VERB, _look, _Past, _task
from ullage.domain.reading import HostReading, ProcessMemory
from ullage.errors import InputError, WorldError
from ullage.ports import World
from ullage.world import real

URL = "http://127.0.0.1:8000"
ENGINE = ("/env/bin/python", "/env/bin/vllm", "serve", "Qwen/Qwen3-8B", "--max-model-len", "8192", "--max-num-seqs", "4")


@dataclass
class Running:
    """Processes of this machine by their numbers, each below the one before; the first listens."""

    commands: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def now(self) -> float:
        return 0.0

    def listener(self, url: str) -> int | None:  # noqa: ARG002 - as the port says
        return next(iter(self.commands), None)

    def host(self, at: float, pid: int | None) -> HostReading:  # noqa: ARG002 - as the port says
        return host(processes=tuple(ProcessMemory(pid=number, parent=1, name="") for number in self.commands))

    def devices(self, at: float) -> tuple[()]:  # noqa: ARG002 - as the port says
        return ()

    def process(self, pid: int) -> tuple[tuple[str, ...], Iterator[str]]:
        if not self.commands.get(pid):
            raise WorldError("there is no such process")
        return self.commands[pid], iter(())


def world(*commands: tuple[str, ...]) -> World:
    running = Running(dict(enumerate(commands, 40)))
    return real.world(offline=True)._replace(meters=running, logs=running)  # type: ignore[arg-type]


def flags(**said: object) -> Flags:
    return VERB.flags({"gpu": "80GiB", **said})


def test_the_engine_behind_a_guard_says_by_its_command_what_was_promised() -> None:
    found, notes, *_ = held_to(flags(), world(("python", "-m", "ullage", "serve", "Qwen3-8B"), KEPT[42][1], ENGINE), URL, ())
    asked, *_ = held_to(flags(), world(), URL, ENGINE[1:])
    assert found is not None
    assert found == asked
    assert notes == ("held to the command that process 42 runs with",)


def test_of_a_process_that_is_named_the_same_is_told() -> None:
    found, *_ = held_to(flags(pid=40), world(ENGINE), None, ())
    assert found is not None
    assert found.model == "Qwen/Qwen3-8B"


@pytest.mark.parametrize("commands", [(), (("python", "-m", "http.server"),), ((),)])
def test_an_address_nobody_knows_says_what_to_give(commands: tuple[tuple[str, ...], ...]) -> None:
    found, (note,), *_ = held_to(flags(), world(*commands), URL, ())
    assert found is None
    assert "--plan FILE, --model MODEL with --engine" in note


def test_a_command_that_cannot_be_planned_says_why_and_what_to_give() -> None:
    found, (note,), *_ = held_to(flags(), world(("vllm", "serve", "./not-here")), URL, ())
    assert found is None
    assert "process 40 could not be planned" in note
    assert "not-here" in note


def test_a_machine_alone_is_held_to_nothing() -> None:
    assert held_to(flags(), world(ENGINE), None, ()) == Held()


@pytest.mark.parametrize("program", [("ullage",), ("/env/bin/python", "-m", "ullage")])
def test_what_ullage_serve_would_start_is_a_promise_too(program: tuple[str, ...]) -> None:
    words = ("serve", "Qwen3-8B", "--engine", "vllm", "--gpu", "80GiB", "--context", "8192")
    found, notes, *_ = held_to(flags(gpu="24GiB"), world(), URL, (*program, *words))
    assert found is not None
    assert (found.engine, found.devices[0].total_bytes >> 30, notes) == ("vllm", 80, ())


STEPPED = (*ENGINE[:-1], "2")
FIRST = ("--engine", "vllm", "--gpu", "80GiB", "--context", "8192", "--set", "max_num_seqs=4")
NAMED = {"model": "Qwen3-8B", "engine": "vllm", "context": "8192", "set": ("max_num_seqs=4",)}


@pytest.mark.parametrize(
    ("said", "command"),
    [(NAMED, ()), ({}, ("ullage", "serve", *FIRST, "Qwen3-8B"))],
    ids=["a model", "what serve was told"],
)
def test_of_an_engine_whose_setting_was_stepped_down_the_promise_is_that_of_the_command_that_runs_now(
    said: dict[str, object], command: tuple[str, ...]
) -> None:
    found = held_to(flags(**said), world(STEPPED), URL, command)
    asked = held_to(flags(), world(), URL, STEPPED[1:])
    assert found.promise == asked.promise
    assert found.notes == ("held to the command that process 40 runs with",)


@pytest.mark.parametrize("said", [{}, NAMED], ids=["an address", "a model"])
def test_the_promise_follows_an_engine_that_is_started_again_with_another_command(said: dict[str, object]) -> None:
    first = held_to(flags(**said), world(ENGINE), URL, ())
    states = {"gone": world(), "beginning": world(KEPT[42][1]), "other": world(STEPPED)}
    now = {name: held_now(first, flags(**said), one, URL, (), one.meters.host(0, None)) for name, one in states.items()}
    assert now["gone"] is now["beginning"] is first
    assert now["other"].promise == held_to(flags(), world(), URL, STEPPED[1:]).promise != first.promise
    again = states["other"]
    assert held_now(now["other"], flags(**said), again, URL, (), again.meters.host(0, None)) is now["other"]


def test_what_was_seen_of_an_engine_is_no_past_of_the_one_that_is_started_after_it() -> None:
    task = _task(flags(pid=40), world(ENGINE))
    past = _Past(task.held)
    for number in (1, 2):
        past = _look(task, past)[1]
        assert len(past.history) == number
    past = _look(task._replace(world=world(STEPPED)), past)[1]
    assert (len(past.history), past.held.promise) == (1, held_to(flags(), world(), URL, STEPPED[1:]).promise)


def test_what_was_promised_of_another_model_or_by_a_command_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    other = held_to(flags(model="Qwen3-4B", engine="vllm"), world(ENGINE), URL, ())
    stated = held_to(flags(), world(ENGINE), URL, STEPPED[1:])
    assert other.promise is not None
    assert other.promise.model == "Qwen/Qwen3-4B"
    monkeypatch.setattr("ullage.commands.held_to.held_to", None)  # nothing is planned again
    for first in (other, stated):
        one = world(ENGINE)
        assert held_now(first, flags(), one, URL, (), one.meters.host(0, None))[:2] == first[:2]


def test_a_refused_command_is_shown_in_whole_words() -> None:
    with pytest.raises(InputError) as refused:
        held_to(flags(), world(), URL, ("start-it", f"/models/{'long' * 30}", *("--flag",) * 20))
    shown = str(refused.value).split("' is the command")[0]
    assert f"/models/{'long' * 30}" in shown
    assert shown.endswith("--flag ...")


KEPT = {
    40: (1, ("/env/bin/python", "/env/bin/ullage", "serve", "--", "vllm", "serve", "Qwen/Qwen3-8B")),
    41: (40, ("/env/bin/python", "-c", "from multiprocessing.spawn import spawn_main")),  # counts prompts
    42: (40, ("/env/bin/python", "-I", "-S", "/env/ullage/world/keeper.py", "7", "11", *ENGINE)),
    43: (42, ENGINE),
    44: (43, ("worker",)),
}


@pytest.mark.parametrize(
    ("gone", "engine", "in_front"),
    [((), [43, 44], [40, 41, 42]), ((42, 43, 44), [], [40, 41]), ((40, 41, 42), [43, 44], [])],
    ids=["a guard and its engine", "a guard between two starts", "an engine alone"],
)
def test_the_processes_of_a_guard_are_not_the_engines(gone: tuple[int, ...], engine: list[int], in_front: list[int]) -> None:
    here = {number: one for number, one in KEPT.items() if number not in gone}
    running = Running({number: words for number, (_, words) in here.items()})
    read = host(processes=tuple(ProcessMemory(pid=number, parent=parent, name="") for number, (parent, _) in here.items()))
    found = behind_serve(world()._replace(logs=running), read)  # type: ignore[arg-type]
    assert [one.pid for one in found.processes or ()] == engine
    assert [one.pid for one in found.in_front] == in_front
