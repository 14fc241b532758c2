"""What the guard is told of devices, and when that lets fewer requests run."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.cases import A100, RTX_3090, vllm_case

from ullage.commands.serve_guard import OPTIONS, GuardDoor, open_door
from ullage.commands.serving import Serving
from ullage.commands.verb import Flags, Option
from ullage.domain.admission import DeviceReading, EngineReady, Event, Limits, State
from ullage.domain.guard import Guard
from ullage.domain.plan import DeviceVerdict
from ullage.domain.reading import DeviceReading as Reading
from ullage.engines import find
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.planning.admit import begin, step
from ullage.planning.cost_model import cost_model
from ullage.planning.fit import Outcome, evaluate
from ullage.planning.in_flight import least_free_bytes
from ullage.planning.launch import server_of
from ullage.ports import World
from ullage.units import GiB

ENGINE = find("vllm")
GIVEN: dict[str, str | int | bool] = {"text": "x", "whole": 3, "flag": True}


def outcome(name: str = "Qwen3-8B", card: tuple[str, float, tuple[int, int]] = A100, **settings: Any) -> Outcome:
    return evaluate(ENGINE, vllm_case(name, "0.10.2", card, **settings))


def allowed_after(free_bytes: int, verdicts: tuple[DeviceVerdict, ...], readings: int = 20) -> tuple[State, State]:
    """The state of a guard that is ready, and the same after readings of so many free bytes."""
    found = outcome()
    limits = Limits(least_free_bytes=least_free_bytes(verdicts))
    first, _ = step(begin(cost_model(ENGINE, found.case, found.ledger), limits), EngineReady(at=0.0))
    state = first
    for number in range(1, readings + 1):
        state, _ = step(state, DeviceReading(at=10.0 * number, free_bytes=free_bytes))
    return first, state


@pytest.mark.parametrize("card", [A100, RTX_3090])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.95])
def test_an_engine_that_keeps_its_plan_is_never_throttled(card: tuple[str, float, tuple[int, int]], share: float) -> None:
    verdicts = outcome("Qwen3-0.6B", card, gpu_memory_utilization=share).devices
    (seen,) = [one for one in verdicts if one.device == "gpu0"]
    first, after = allowed_after(max(0, seen.total_bytes - seen.peak.high), (seen,))
    assert (after.allowed, after.device_short) == (first.allowed, False)


def test_a_device_that_is_fuller_than_its_plan_lets_fewer_run_until_it_has_recovered() -> None:
    verdicts = tuple(one for one in outcome(gpu_memory_utilization=0.9).devices if one.device == "gpu0")
    least = least_free_bytes(verdicts)
    assert 0 < least <= verdicts[0].total_bytes // 50
    first, short = allowed_after(least - 1, verdicts)
    assert short.device_short
    assert short.allowed < first.allowed
    again, _ = step(short, DeviceReading(at=1e6, free_bytes=least))
    assert not again.device_short


def test_where_the_plan_leaves_nothing_free_nothing_is_asked() -> None:
    (seen,) = [one for one in outcome().devices if one.device == "gpu0"]
    assert least_free_bytes((replace(seen, total_bytes=seen.peak.high - 1),)) == least_free_bytes(()) == 0


def test_only_the_devices_that_the_engine_uses_are_read() -> None:
    told: list[Event] = []
    guard = cast("Guard", SimpleNamespace(observe=told.append))
    seen = tuple(
        Reading(device=device, kind="cuda", name="card", at=1.0, free_bytes=free) for device, free in (("gpu0", 5 * GiB), ("gpu1", 1))
    )
    world = cast("World", SimpleNamespace(meters=SimpleNamespace(devices=lambda _at: seen)))
    GuardDoor(guard, ENGINE, world, outcome()).pulse(1.0, "")
    assert told == [DeviceReading(at=1.0, free_bytes=5 * GiB)]


@pytest.mark.parametrize(
    ("host", "argv", "is_said"),
    [
        ("0.0.0.0", (), True),  # noqa: S104 - compared, not bound
        ("::", (), True),
        ("192.168.1.7", (), True),
        ("a-name", (), True),
        ("127.0.0.1", (), False),
        ("::1", (), False),
        ("localhost", (), False),
        ("0.0.0.0", ("--api-key", "k"), False),  # noqa: S104 - as above
    ],
)
def test_a_server_that_others_reach_without_a_key_says_so(host: str, argv: tuple[str, ...], *, is_said: bool) -> None:
    command = SimpleNamespace(argv=("vllm", "serve", "m", *argv), environment=())
    serving = SimpleNamespace(
        host=host, port=8000, command=command, server=server_of(ENGINE.profile, ("vllm", "serve", "m")), engine=ENGINE, case=None
    )
    door, notes = open_door(Flags({"no_guard": True}), cast("World", None), cast("Serving", serving))
    assert door is None
    assert [f"whoever reaches {host} port 8000 is answered, as no key is asked for" in note for note in notes] == [True] * is_said


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.name != "no_guard"], ids=lambda option: option.name)
def test_what_the_guard_is_to_do_is_refused_where_there_is_none(option: Option) -> None:
    serving = SimpleNamespace(host="127.0.0.1", case=None, notes=("no model",))
    for flags, why in (({"no_guard": True}, "--no-guard"), ({}, "no model")):
        with pytest.raises(InputError, match=rf"^{option.spellings[0]} .* there is no guard: .*{why}"):
            open_door(Flags({option.name: GIVEN[option.kind], **flags}), cast("World", None), cast("Serving", serving))
