"""The pools that vLLM's own planner laid out, kept, and those that ours lays out when told the same."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.vllm_pools import ours, theirs

KEPT = json.loads((Path(__file__).parents[1] / "data" / "vllm_oracle.json").read_text())
CONFIGS = Path(__file__).parents[2] / "src" / "ullage" / "catalog" / "configs"


def config_of(row: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a kept answer: its own, or the bundled one in its own 16 bits."""
    config = dict(row.get("config") or json.loads((CONFIGS / f"{row['model']}.json").read_text()))
    config.pop("quantization_config", None)
    return config


ROWS = [pytest.param(row, id=f"{group}-{row['model']}-{index}") for group in ("rows", "cuda") for index, row in enumerate(KEPT[group])]


@pytest.mark.parametrize("row", ROWS)
def test_pages_groups_blocks_and_tokens_are_vllms(row: dict[str, Any]) -> None:
    expected = theirs(row)
    found = ours(config_of(row), KEPT["version"], row["settings"])
    assert {name: found[name] for name in expected} == expected


def test_windows_states_latents_and_mixtures_are_among_them() -> None:
    kinds = {kind for row in KEPT["rows"] for kind, *_ in row["groups"]}
    assert kinds >= {"FullAttentionSpec", "SlidingWindowSpec", "MLAAttentionSpec", "MambaSpec"}
    assert len(KEPT["rows"]) >= 70
