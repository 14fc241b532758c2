"""The runtime against Transformers itself on tiny models of every family, with prompts that no golden has."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers", minversion="5.20")
goldens = pytest.importorskip("tools.runtime_goldens")
stepping = pytest.importorskip("tests.runtime.stepping")
tiny = pytest.importorskip("tests.runtime.tiny")
families = pytest.importorskip("ullage.runtime.model.families")
loading = pytest.importorskip("ullage.runtime.load")

pytestmark = pytest.mark.oracle

NAMES = [name for name, config in tiny.TINY_CONFIGS.items() if goldens.asked(config) and config["model_type"] in families.FAMILIES]
PROMPT = [(11 * index * index + 5 * index + 7) % 317 for index in range(170)]


@pytest.mark.parametrize("name", NAMES)
def test_greedy_tokens_are_those_of_transformers(tmp_path: Path, name: str) -> None:
    folder = tiny.tiny_model(tmp_path, tiny.TINY_CONFIGS[name], seed=100)
    expected = goldens.answer(folder, PROMPT)
    loaded = loading.load(str(folder), dtype=torch.float32, device=torch.device("cpu"))
    tokens, logits = stepping.Stepper(loaded).greedy(PROMPT, goldens.NEW_TOKENS, chunk=64)
    assert torch.allclose(logits[: goldens.LOGITS], torch.tensor(expected["logits"]), atol=1e-4, rtol=1e-4)
    if expected["ahead"] > 1e-4:  # a tie may fall either way
        assert tokens == expected["tokens"]
