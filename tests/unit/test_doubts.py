"""What a watch says where its plan is of something else than what runs."""

import pytest
from tests.watching import card, engine, promise

from ullage.domain.reading import Moment
from ullage.frozen import replace
from ullage.planning.doubts import doubts, is_called
from ullage.units import GiB

HERE = (card(),)


def seen(**said: object) -> Moment:
    return Moment(at=0.0, devices=HERE, engine=replace(engine(), **{"model": "m", **said}))


def test_a_plan_of_what_runs_leaves_no_doubt() -> None:
    assert doubts(promise(), seen(), ("vllm", "serve", "m")) == ()


def test_another_engine_and_another_model_are_told() -> None:
    of_engine, of_model = doubts(promise(), seen(engine="runtime", model="SmolLM2-135M"), ("m",))
    assert "plan is of vllm, and runtime answers at http://127.0.0.1:8000" in of_engine
    assert "plan is of m, and SmolLM2-135M is served" in of_model


def test_a_model_is_not_doubted_where_the_plan_is_of_the_process_itself() -> None:
    assert doubts(promise(), seen(model="other"), ()) == ()


@pytest.mark.parametrize(
    ("model", "planned", "names", "wanted"),
    [
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B", (), True),
        ("/models/Qwen3-8B", "Qwen/Qwen3-8B", (), True),
        ("SmolLM2-135M-Instruct.Q4_1", "smollm2-135m-instruct.q4_1.gguf", (), True),
        ("Qwen3-8B-AWQ", "Qwen/Qwen3-8B", (), True),
        ("chat", "Qwen/Qwen3-8B", ("--served-model-name", "chat"), True),
        ("chat", "Qwen/Qwen3-8B", ("--served-model-name=chat",), True),
        ("chat", "Qwen/Qwen3-8B", ("--model", "Qwen/Qwen3-8B"), False),
        ("Qwen3-80B", "Qwen/Qwen3-8", (), False),
        ("Qwen3-8B", "Qwen/Qwen3-4B", (), False),
        ("SmolLM2-135M", "Qwen/Qwen3-8B", (), False),
    ],
)
def test_a_model_may_be_called_by_its_folder_its_file_or_a_name_it_was_given(
    *, model: str, planned: str, names: tuple[str, ...], wanted: bool
) -> None:
    assert is_called(model, planned, names) is wanted


def test_devices_that_are_not_here_and_those_of_another_size_are_told() -> None:
    (gone,) = doubts(promise("gpu1"), seen(), ())
    assert "gpu1 (card), and no driver of this machine answers for that" in gone
    (other,) = doubts(promise(), Moment(at=0.0, devices=(card(total=24 * GiB),)), ())
    assert "gpu0 of 80.00 GiB, and this one has 24.00 GiB" in other
