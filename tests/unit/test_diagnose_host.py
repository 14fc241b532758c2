"""Deaths for want of host memory, whose limit nobody states: what may be promised of a change, and what a log tells of its case."""

import json
from pathlib import Path

import pytest

import ullage
from ullage.commands.diagnose import VERB, make_diagnosis
from ullage.domain.cause import Diagnosis, Stage
from ullage.domain.plan import Verdict
from ullage.planning.diagnose_command import command_of
from ullage.units import MiB
from ullage.world import real

LOGS = Path(__file__).parent.parent / "data" / "logs"
CONFIGS = Path(ullage.__file__).parent / "catalog" / "configs"
FITS = {Verdict.FITS, Verdict.TIGHT}


def diagnosed(text: str, **options: object) -> Diagnosis:
    flags = VERB.flags({"offline": True, "gpu": "cpu", **options})
    return make_diagnosis(flags, iter(text.splitlines(keepends=True)), real.world(offline=True))


@pytest.fixture
def model(tmp_path: Path) -> str:
    """What the logs call m: the first four layers of a small model."""
    whole = json.loads((CONFIGS / "HuggingFaceTB__SmolLM2-135M-Instruct.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**whole, "num_hidden_layers": 4}))
    return str(tmp_path)


def of_file(name: str, model: str) -> Diagnosis:
    return diagnosed((LOGS / name).read_text(encoding="utf-8"), host_memory="8GiB", model=model)


def test_the_words_of_a_planned_script_and_its_last_batch_become_the_case(model: str) -> None:
    found = of_file("real_transformers_batch.log", model)
    (change,) = (change for change in found.changes if change.setting == "concurrency")
    assert found.stage is Stage.UNDER_LOAD
    assert change.value == 8
    assert change.verdict in FITS


def test_a_cache_is_made_so_much_smaller_that_nearly_all_that_was_asked_for_is_saved(model: str) -> None:
    found = of_file("real_vllm_cpu_pool.log", model)
    first = found.changes[0]
    assert (first.setting, first.value) == ("kv_cache_memory_bytes", 128 * MiB)  # of 1 GiB: nothing says how much was free
    assert first.verdict in FITS
    assert first.frees_bytes is not None
    assert first.frees_bytes >= 7 * 128 * MiB - MiB


@pytest.mark.parametrize("name", ["real_vllm_cpu_prompt.log", "real_vllm_cpu_load.log"])
def test_a_step_is_cut_until_its_high_end_is_below_the_low_end_of_the_one_that_died(name: str, model: str) -> None:
    first = of_file(name, model).changes[0]
    assert first.setting == "max_num_batched_tokens"
    assert isinstance(first.value, int)
    assert first.value < 8192 // 2
    assert first.verdict in FITS


def test_what_does_not_touch_the_step_that_died_is_not_promised_to_help(model: str) -> None:
    changes = of_file("real_vllm_cpu_prompt.log", model).changes
    (cache,) = (change for change in changes if change.setting == "kv_cache_memory_bytes")
    assert cache.verdict is Verdict.DOES_NOT_FIT
    assert changes.index(cache) > 0


def test_prose_about_a_command_is_no_command() -> None:
    assert command_of("Some endpoints are off. Use vllm serve with --enable-scale-out to enable them.") is None
    assert command_of("vllm serve org/with-a-name --dtype half") == ("vllm", "serve", "org/with-a-name", "--dtype", "half")


def test_an_allocation_on_the_host_is_a_whole_sentence() -> None:
    lines = "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes. Error code 12\nVLLM_X done\n"
    assert "VLLM_X" not in diagnosed(lines).causes[0].evidence[0].text
