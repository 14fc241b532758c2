"""Our device maps against those of Accelerate and of Transformers 5, for models built on the meta device."""

import itertools
from importlib import import_module
from typing import Any

import pytest

from ullage.architectures import read
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.engines.transformers.device_map import balanced, place
from ullage.engines.transformers.placement import _finder, module_tree
from ullage.units import MiB

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers", minversion="5.0")
pytest.importorskip("accelerate")

pytestmark = pytest.mark.oracle

COMMON: dict[str, Json] = {
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 14,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 20000,
    "max_position_embeddings": 4096,
    "torch_dtype": "bfloat16",
}
MODELS: dict[str, dict[str, Json]] = {
    "llama": {**COMMON, "model_type": "llama", "architectures": ["LlamaForCausalLM"]},
    "llama_tied": {**COMMON, "model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True},
    "big_vocabulary": {**COMMON, "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 90000},
    "qwen2": {**COMMON, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "use_sliding_window": False},
    "qwen3_moe": {
        **COMMON,
        "model_type": "qwen3_moe",
        "architectures": ["Qwen3MoeForCausalLM"],
        "head_dim": 64,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 512,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [0, 1],
        "norm_topk_prob": True,
    },
}
MACHINES = [(400,), (70, 70), (60, 90), (90, 60), (40, 50, 80), (64, 64, 64), (30, 40, 50, 60), (20, 25, 30, 25)]
KINDS = ["auto", "balanced_low_0", "sequential"]


def real_model(config: dict[str, Json]) -> Any:
    cls = getattr(transformers, config["architectures"][0])
    names = {key: value for key, value in config.items() if key not in {"architectures", "torch_dtype"}}
    with torch.device("meta"):
        return cls(cls.config_class(**names)).to(torch.bfloat16)


def real_map(model: Any, kind: str, memory: dict[int | str, int], package: Any) -> dict[str, Any]:
    blocks = list(model._no_split_modules)
    allowed = dict(memory)
    if kind != "sequential":
        allowed = package.get_balanced_memory(model, max_memory=allowed, no_split_module_classes=blocks, low_zero=kind == "balanced_low_0")
    return dict(package.infer_auto_device_map(model, max_memory=allowed, no_split_module_classes=blocks))


@pytest.mark.parametrize("package", ["transformers", "accelerate"])
@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_lies_where_the_library_puts_it(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = MODELS[name]
    module = import_module("transformers.integrations.accelerate" if package == "transformers" else "accelerate.utils.modeling")
    real = real_model(config)
    tensors = read(Hyperparameters(config)).tensors
    tree = module_tree(tensors)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    if package == "transformers":  # the library asks the driver for free memory; the sizes given are to stand
        monkeypatch.setattr(module, "get_max_memory", lambda given: given)
    for sizes, kind in itertools.product(MACHINES, KINDS):
        memory: dict[int | str, int] = {index: size * MiB for index, size in enumerate(sizes)}
        memory["cpu"] = 90 * MiB
        expected = {str(key): str(value) for key, value in real_map(real, kind, memory, module).items()}
        allowed = {str(key): value for key, value in memory.items()}
        if kind != "sequential":
            allowed = balanced(tree, allowed, low_zero=kind == "balanced_low_0", largest_leaf=package == "transformers")
        ours, theirs = _finder(place(tree.children, allowed)), _finder(expected)
        for tensor in tensors:
            assert ours(tensor.name) == theirs(_renamed(tensor.name)), (sizes, kind, tensor.name, expected)


def _renamed(name: str) -> str:
    """Where the class of today keeps a tensor; layers are whole, so only their number matters."""
    return name.replace("{expert}.", "")
