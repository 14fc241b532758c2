"""Every family against what Transformers answered with the same tiny models, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.runtime.stepping import Stepper
from tests.runtime.tiny import TINY_CONFIGS, tiny_model

from ullage.architectures import read
from ullage.domain.hyperparameters import Hyperparameters
from ullage.errors import UnsupportedModelError
from ullage.runtime.load import Loaded, load
from ullage.runtime.model.families import FAMILIES, traits

STORED = json.loads((Path(__file__).parent.parent / "data" / "runtime_goldens.json").read_text())
GOLDENS: dict[str, dict[str, Any]] = {
    name: golden for name, golden in STORED["models"].items() if TINY_CONFIGS[name]["model_type"] in FAMILIES
}


def tiny(folder: Path, name: str, seed: int = 0, **changes: Any) -> Loaded:
    path = tiny_model(folder, {**TINY_CONFIGS[name], **changes}, seed=seed)
    return load(str(path), dtype=torch.float32, device=torch.device("cpu"))


@pytest.mark.parametrize("name", GOLDENS)
def test_greedy_tokens_and_logits_are_those_of_transformers_whatever_the_chunk(tmp_path: Path, name: str) -> None:
    golden = GOLDENS[name]
    loaded = tiny(tmp_path, name, golden["seed"])
    for chunk in (512, 37):
        tokens, logits = Stepper(loaded).greedy(STORED["prompt"], len(golden["tokens"]), chunk=chunk)
        assert tokens == golden["tokens"]
        assert torch.allclose(logits[: len(golden["logits"])], torch.tensor(golden["logits"]), atol=1e-4, rtol=1e-4)


def test_no_family_runs_that_was_not_compared() -> None:
    assert {TINY_CONFIGS[name]["model_type"] for name in GOLDENS} == set(FAMILIES)


def test_half_precision_stays_close_to_single(tmp_path: Path) -> None:
    path = str(tiny_model(tmp_path, TINY_CONFIGS["llama"]))
    prompt = STORED["prompt"]
    exact, rough = (
        Stepper(load(path, dtype=dtype, device=torch.device("cpu"), weights="dense")).logits(prompt, chunk=64)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert (exact - rough).norm() / exact.norm() < 0.03


def test_a_family_that_is_not_run_is_refused_by_name() -> None:
    config = Hyperparameters({**TINY_CONFIGS["llama"], "model_type": "exaone", "num_layers": 4})
    with pytest.raises(UnsupportedModelError, match="'exaone'"):
        traits(config, read(config).architecture)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type 'dynamic'"),
        ("llama", {"hidden_act": "relu"}, "activation 'relu'"),
        ("stablelm", {"qk_layernorm": True}, "qk_layernorm"),
        ("phi3", {"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}, "1 factors; 8 are needed"),
    ],
)
def test_what_a_family_does_not_do_is_refused(name: str, changes: dict[str, Any], said: str) -> None:
    config = Hyperparameters({**TINY_CONFIGS[name], **changes})
    with pytest.raises(UnsupportedModelError, match=said):
        traits(config, read(config).architecture)
