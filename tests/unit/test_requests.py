"""What a person writes, as values: devices, options, versions, the model's name."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.catalog import models as catalogue
from ullage.commands.machine import parse_devices, read_machine
from ullage.commands.question import pairs, parse_version
from ullage.commands.verb import Answer, Argument, Flags, Option, Verb, parse
from ullage.domain.machine import HOST, Device
from ullage.errors import InputError
from ullage.ports import World
from ullage.units import GiB


class Bench:
    """A machine with the devices it was given."""

    def __init__(self, *devices: Device) -> None:
        self._devices = devices

    def devices(self) -> tuple[Device, ...]:
        return self._devices

    def host(self) -> Device:
        return Device(id=HOST, kind="cpu", name="host memory", total_bytes=64 * GiB, reserved_bytes=4 * GiB)


def _run(flags: Flags, world: World) -> Answer:  # noqa: ARG001 - the shape of a verb
    return Answer(0)


VERB = Verb(
    "test",
    "",
    _run,
    (
        Option("gpu", "text", ""),
        Option("set", "many", ""),
        Option("tp", "whole", ""),
        Option("json", "flag", ""),
        Option("output", "text", "", flags=("--output", "-o")),
    ),
    Argument("model", "one", ""),
)
REST = replace(VERB, argument=Argument("command", "rest", ""))


def test_eight_of_one_card_are_numbered_from_nought() -> None:
    devices = parse_devices("8xH800-80GB")
    assert [device.id for device in devices] == [f"gpu{index}" for index in range(8)]
    assert {device.name for device in devices} == {"H800-80GB"}


def test_unequal_cards_keep_their_order() -> None:
    assert [device.name for device in parse_devices("4090, 4090,2x3090")] == ["RTX 4090-24GB"] * 2 + ["RTX 3090-24GB"] * 2


def test_a_size_describes_any_other_card_exactly() -> None:
    (device,) = parse_devices("24GiB")
    assert device.total_bytes == 24 * GiB


@pytest.mark.parametrize("text", ["", ",", "0xH100", "99999xH100", "H100,,H100", "xH100", "nonsense", "8x"])
def test_what_names_no_device_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_devices(text)


@given(st.text(max_size=40))
def test_any_text_is_devices_or_an_input_error(text: str) -> None:
    with contextlib.suppress(InputError):
        assert parse_devices(text)


def test_a_total_and_a_reserve_are_for_one_device_or_for_all() -> None:
    machine = read_machine("2x3090", "512GiB", ("1GiB", "gpu1=2GiB", "host=8GiB"), ("gpu0=23.58GiB",), Bench())
    assert [device.reserved_bytes for device in machine.devices] == [GiB, 2 * GiB]
    assert machine.devices[0].total_bytes == int(23.58 * 100) * GiB // 100
    assert machine.host is not None
    assert (machine.host.total_bytes, machine.host.reserved_bytes) == (512 * GiB, 8 * GiB)


@pytest.mark.parametrize(
    ("reserve", "total"), [(("gpu7=1GiB",), ()), (("100GiB",), ()), ((), ("gpu0=0",)), (("host=1GiB",), ()), (("gpu0=lots",), ())]
)
def test_a_reserve_that_cannot_be_is_refused(reserve: tuple[str, ...], total: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        read_machine("3090", None, reserve, total, Bench())


def test_without_a_driver_the_devices_have_to_be_said() -> None:
    with pytest.raises(InputError, match="--gpu"):
        read_machine(None, None, (), (), Bench())


def test_the_devices_of_this_machine_bring_its_host_memory() -> None:
    card = Device(id="gpu0", kind="cuda", name="card", total_bytes=8 * GiB)
    machine = read_machine("local", None, (), (), Bench(card))
    assert machine.devices == (card,)
    assert machine.host == Bench().host()


def test_the_host_is_unknown_where_other_devices_are_meant() -> None:
    assert read_machine("H100", None, (), (), Bench()).host is None


def test_the_cpu_is_a_device_that_shares_the_hosts_memory() -> None:
    (device,) = read_machine("cpu", None, (), (), Bench()).devices
    assert (device.kind, device.shares_memory_with) == ("cpu", HOST)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("m", "--gpu", "H100", "--set", "a=1", "--set=b=2", "--tp", "8", "--json", "-o", "x"),
            ("m", "H100", ("a=1", "b=2"), 8, True, "x"),
        ),
        (("--gpu=H100", "m"), ("m", "H100", (), None, False, None)),
        (("--", "--odd"), ("--odd", None, (), None, False, None)),
    ],
)
def test_a_plain_command_line_is_read_at_once(words: tuple[str, ...], expected: tuple[object, ...]) -> None:
    flags = parse(VERB, words)
    assert flags is not None
    found = (flags.text("model"), flags.text("gpu"), flags.texts("set"), flags.whole("tp"), flags.flag("json"), flags.text("output"))
    assert found == expected


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("m", "n"),
        ("m", "--help"),
        ("m", "--tp", "x"),
        ("m", "--tp", "0"),
        ("m", "--gpu"),
        ("m", "--json=1"),
        ("m", "--gpux", "1"),
        ("m", "-h"),
    ],
)
def test_what_needs_an_explanation_is_left_to_the_parser(words: tuple[str, ...]) -> None:
    assert parse(VERB, words) is None


@pytest.mark.parametrize("words", [("--json", "--", "vllm", "serve", "--tp", "2"), ("--json", "vllm", "serve", "--tp", "2")])
def test_a_command_keeps_its_own_flags(words: tuple[str, ...]) -> None:
    flags = parse(REST, words)
    assert flags is not None
    assert flags.texts("command") == ("vllm", "serve", "--tp", "2")
    assert flags.whole("tp") is None


@given(st.lists(st.text(max_size=8), max_size=8).map(tuple))
def test_any_words_are_read_or_left(words: tuple[str, ...]) -> None:
    for verb in (VERB, REST):
        parse(verb, words)


@pytest.mark.parametrize(("text", "parts"), [("0.11.0", (0, 11, 0)), ("v0.6.4.post1", (0, 6, 4)), ("5", (5,))])
def test_a_release_is_its_numbers(text: str, parts: tuple[int, ...]) -> None:
    assert parse_version(text).parts == parts


def test_a_release_without_numbers_is_refused() -> None:
    with pytest.raises(InputError):
        parse_version("latest")


@pytest.mark.parametrize("word", ["name", "=1", ""])
def test_a_setting_needs_a_name_and_a_value(word: str) -> None:
    with pytest.raises(InputError, match="NAME=VALUE"):
        pairs("--set", (word,))


@pytest.mark.parametrize("word", ["Qwen3-8B", "Qwen/Qwen3-8B", "qwen3_8b", "QWEN/qwen3-8b"])
def test_a_bundled_model_is_found_however_it_is_spelt(word: str) -> None:
    found = catalogue.lookup(word)
    assert found is not None
    assert found.id == "Qwen/Qwen3-8B"


def test_a_dot_is_not_dropped_so_two_models_stay_two() -> None:
    assert catalogue.lookup("Qwen2-57B") is None
    assert catalogue.lookup("qwen2-5-7b") is not None


def test_a_misspelt_model_has_near_names() -> None:
    assert "Qwen/Qwen3-8B" in catalogue.near("Qwen3-8")


@pytest.mark.parametrize("model", catalogue.bundled(), ids=lambda model: model.id)
def test_every_bundled_model_has_its_file(model: catalogue.BundledModel) -> None:
    assert catalogue.lookup(model.id) == model
    assert catalogue.configuration(model).startswith(b"{")
