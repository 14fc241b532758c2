"""Tiny random models of every family that the runtime knows, written as a safetensors directory."""

import ctypes
import json
from math import prod
from pathlib import Path
from typing import Any

import torch

from ullage import architectures
from ullage.catalog.tensor_formats import SAFETENSORS_DTYPES
from ullage.domain.checkpoint import Part, Role, Tensor
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_WORDS = {fmt.name: word for word, fmt in SAFETENSORS_DTYPES.items()}
_STORED_MINUS_ONE = ("gemma", "gemma2", "gemma3_text")

_BASE: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 320,
    "max_position_embeddings": 1024,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_MLA = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 32,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 32,
    "v_head_dim": 32,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 64,
    "first_k_dense_replace": 1,
    "routed_scaling_factor": 1.5,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
_LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0 + 0.05 * index for index in range(8)],
    "long_factor": [1.5 + 0.5 * index for index in range(8)],
}
_GEMMA = {
    "head_dim": 32,
    "hidden_activation": "gelu_pytorch_tanh",
    "query_pre_attn_scalar": 24,
    "sliding_window": 16,
    "tie_word_embeddings": True,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}
_PHI3 = {"sliding_window": None, "original_max_position_embeddings": 1024}
_QWEN_EXPERTS = {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 64, "decoder_sparse_step": 1}


def _config(model_type: str, class_name: str, *more: dict[str, Any], **own: Any) -> dict[str, Any]:
    config = {**_BASE, "model_type": model_type, "architectures": [class_name]}
    for part in (*more, own):
        config |= part
    return {key: value for key, value in config.items() if value is not _ABSENT}


_ABSENT = object()
TINY_CONFIGS: dict[str, dict[str, Any]] = {
    "llama": _config("llama", "LlamaForCausalLM"),
    "llama_tied": _config("llama", "LlamaForCausalLM", tie_word_embeddings=True, head_dim=32),
    "llama_biased": _config("llama", "LlamaForCausalLM", attention_bias=True, mlp_bias=True, num_key_value_heads=1),
    "llama_linear": _config("llama", "LlamaForCausalLM", rope_scaling={"rope_type": "linear", "factor": 4.0}),
    "llama_yarn": _config("llama", "LlamaForCausalLM", rope_scaling={**_YARN, "beta_fast": 16.0, "beta_slow": 2.0}),
    "llama_scaled": _config("llama", "LlamaForCausalLM", rope_scaling=_LLAMA3),
    "mistral": _config("mistral", "MistralForCausalLM", sliding_window=24, head_dim=16),
    "qwen2": _config("qwen2", "Qwen2ForCausalLM", use_sliding_window=False, max_window_layers=4, sliding_window=None),
    "qwen2_windowed": _config("qwen2", "Qwen2ForCausalLM", use_sliding_window=True, max_window_layers=2, sliding_window=24),
    "qwen2_yarn": _config("qwen2", "Qwen2ForCausalLM", use_sliding_window=False, rope_scaling=_YARN, max_position_embeddings=256),
    "qwen2_dual_chunk": _config(
        "qwen2",
        "Qwen2ForCausalLM",
        use_sliding_window=False,
        dual_chunk_attention_config={
            "chunk_size": 64,
            "local_size": 16,
            "original_max_position_embeddings": 64,
            "sparse_attention_enabled": False,
        },
    ),
    "qwen3": _config("qwen3", "Qwen3ForCausalLM", head_dim=32, use_sliding_window=False),
    "qwen2_moe": _config(
        "qwen2_moe",
        "Qwen2MoeForCausalLM",
        _QWEN_EXPERTS,
        shared_expert_intermediate_size=96,
        norm_topk_prob=False,
        use_sliding_window=False,
    ),
    "qwen3_moe": _config("qwen3_moe", "Qwen3MoeForCausalLM", _QWEN_EXPERTS, norm_topk_prob=True, head_dim=32, mlp_only_layers=[1]),
    "gemma": _config("gemma", "GemmaForCausalLM", head_dim=32, hidden_act="gelu_pytorch_tanh", tie_word_embeddings=True),
    "gemma2": _config("gemma2", "Gemma2ForCausalLM", _GEMMA, attn_logit_softcapping=20.0, final_logit_softcapping=15.0),
    "gemma3_text": _config("gemma3_text", "Gemma3ForCausalLM", _GEMMA, rope_theta=1000000.0, rope_local_base_freq=10000.0),
    "phi": _config(
        "phi",
        "PhiForCausalLM",
        num_key_value_heads=4,
        hidden_act="gelu_new",
        layer_norm_eps=1e-5,
        partial_rotary_factor=0.5,
        rms_norm_eps=_ABSENT,
    ),
    "phi3": _config("phi3", "Phi3ForCausalLM", _PHI3, sliding_window=40),
    "phi3_longrope": _config("phi3", "Phi3ForCausalLM", _PHI3, original_max_position_embeddings=96, rope_scaling=_LONGROPE),
    "granite": _config(
        "granite",
        "GraniteForCausalLM",
        embedding_multiplier=6.0,
        attention_multiplier=0.2,
        residual_multiplier=0.4,
        logits_scaling=0.5,
    ),
    "smollm3": _config("smollm3", "SmolLM3ForCausalLM", no_rope_layers=[1, 0, 1, 1], use_sliding_window=False),
    "stablelm": _config(
        "stablelm",
        "StableLmForCausalLM",
        layer_norm_eps=1e-5,
        partial_rotary_factor=0.25,
        use_qkv_bias=True,
        head_dim=_ABSENT,
        hidden_size=128,
    ),
    "starcoder2": _config(
        "starcoder2",
        "Starcoder2ForCausalLM",
        norm_epsilon=1e-5,
        hidden_act="gelu_pytorch_tanh",
        sliding_window=24,
        tie_word_embeddings=True,
    ),
    "mixtral": _config("mixtral", "MixtralForCausalLM", num_local_experts=4, num_experts_per_tok=2, sliding_window=None),
    "deepseek_v2": _config(
        "deepseek_v2", "DeepseekV2ForCausalLM", _MLA, q_lora_rank=None, topk_method="greedy", norm_topk_prob=False, n_group=1, topk_group=1
    ),
    "deepseek_v2_grouped": _config(
        "deepseek_v2",
        "DeepseekV2ForCausalLM",
        _MLA,
        q_lora_rank=64,
        topk_method="group_limited_greedy",
        norm_topk_prob=False,
        n_group=4,
        topk_group=2,
        rope_scaling={**_YARN, "mscale": 0.707, "mscale_all_dim": 0.707, "beta_fast": 32, "beta_slow": 1},
    ),
    "deepseek_v3": _config(
        "deepseek_v3", "DeepseekV3ForCausalLM", _MLA, q_lora_rank=64, norm_topk_prob=True, n_group=4, topk_group=2, scoring_func="sigmoid"
    ),
    "gpt_oss": _config(
        "gpt_oss",
        "GptOssForCausalLM",
        head_dim=16,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=16,
        swiglu_limit=7.0,
        layer_types=["sliding_attention", "full_attention"] * 2,
        rope_scaling={**_YARN, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False},
        rope_theta=150000.0,
        attention_bias=True,
    ),
}


def blueprint_of(config: dict[str, Any]) -> Blueprint:
    """What our own reading of the configuration says."""
    return architectures.read(Hyperparameters(config))


def tiny_model(tmp_path: Path, config: dict[str, Any], *, seed: int = 0) -> Path:
    """A directory with ``config.json`` and ``model.safetensors``: random weights for every tensor of the blueprint."""
    folder = tmp_path / f"{config['model_type']}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    write_safetensors(folder / "model.safetensors", random_tensors(config, seed=seed))
    return folder


def random_tensors(config: dict[str, Any], *, seed: int = 0) -> dict[str, torch.Tensor]:
    """Every tensor under its checkpoint's name, in the model's dtype: what reaches the next layer is about as large as what came."""
    draw = torch.Generator().manual_seed(seed)
    dtype = _DTYPES[config["torch_dtype"]]
    made: dict[str, torch.Tensor] = {}
    for tensor in blueprint_of(config).tensors:
        numbered = "{expert}" in tensor.name
        for copy in range(tensor.copies if numbered else 1):
            made[tensor.name.replace("{expert}", str(copy))] = _values(tensor, config, draw).to(dtype)
    if config["model_type"] == "deepseek_v3":  # a buffer of the router, which is no parameter
        routers = [name for name in made if name.endswith("mlp.gate.weight")]
        for name in routers:
            bias = 0.1 * torch.randn(made[name].shape[0], generator=draw)
            made[name.removesuffix("weight") + "e_score_correction_bias"] = bias
    return made


def _values(tensor: Tensor, config: dict[str, Any], draw: torch.Generator) -> torch.Tensor:
    shape = tensor.shape
    if tensor.copies > 1 and "{expert}" not in tensor.name:  # stacked, and (in, out) as Transformers keeps gpt-oss's experts
        shape = (tensor.copies, *reversed(shape))
    noise = torch.randn(shape, generator=draw)
    match tensor:
        case Tensor(part=Part.BIAS):
            return 0.1 * noise
        case Tensor(role=Role.NORM):
            return 0.1 * noise + (0.0 if config["model_type"] in _STORED_MINUS_ONE else 1.0)
        case Tensor(role=Role.EMBEDDING) if not config["tie_word_embeddings"]:
            return noise
        case Tensor(role=Role.ATTENTION_OTHER):  # gpt-oss's sinks
            return noise
        case _:
            return noise * tensor.shape[-1] ** -0.5


def write_safetensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """A file as safetensors lays it out."""
    entries: dict[str, object] = {}
    position, chunks = 0, []
    for name, tensor in tensors.items():
        word = _WORDS[str(tensor.dtype).removeprefix("torch.")]
        nbytes = prod(tensor.shape) * tensor.element_size()
        entries[name] = {"dtype": word, "shape": list(tensor.shape), "data_offsets": [position, position + nbytes]}
        chunks.append(content(tensor))
        position += nbytes
    header = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"".join(chunks))


def content(tensor: torch.Tensor) -> bytes:
    """A tensor's elements as they lie in a file."""
    lying = tensor.contiguous()
    return ctypes.string_at(lying.data_ptr(), lying.numel() * lying.element_size()) if lying.numel() else b""
