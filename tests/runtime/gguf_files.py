"""GGUF files with true contents, and a model's tensors as llama.cpp's converter names, turns and stacks them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tests.header_files import as_gguf
from tests.runtime.tiny import content

Packed = tuple[str, tuple[int, ...], bytes]  # format, shape of the values, the file's bytes
_ARCHITECTURES = {
    "mixtral": "llama",
    "mistral": "mistral3",
    "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe",
    "gemma3_text": "gemma3",
    "deepseek_v2": "deepseek2",
    "deepseek_v3": "deepseek2",
    "gpt_oss": "gpt-oss",
}
_WORDS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.sinks": "attn_sinks",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
    "mlp.router": "ffn_gate_inp",
    "block_sparse_moe.gate": "ffn_gate_inp",
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "mlp.gate.e_score_correction_bias": "exp_probs_b",
    **{f"mlp.{name}.{word}_proj": f"ffn_{word}_shexp" for name in ("shared_expert", "shared_experts") for word in ("gate", "up", "down")},
    "input_layernorm": "attn_norm",
}


def plain(tensor: torch.Tensor) -> Packed:
    """A tensor of single numbers."""
    return str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), content(tensor)


def q8_0(tensor: torch.Tensor) -> Packed:
    """Blocks of 32 signed bytes with an fp16 scale."""
    blocks = tensor.float().reshape(-1, 32)
    scale = (blocks.abs().amax(dim=1, keepdim=True) / 127).half()
    bytes_ = (blocks / scale.float().clamp(min=1e-8)).round().clamp(-127, 127).to(torch.int8)
    return "q8_0", tuple(tensor.shape), content(torch.cat((scale.view(torch.uint8), bytes_.view(torch.uint8)), dim=1))


def write_gguf(path: Path, metadata: Mapping[str, object], tensors: Mapping[str, Packed]) -> Path:
    """A whole file."""
    header, size = as_gguf(metadata, {name: (word, shape) for name, (word, shape, _) in tensors.items()})
    data = b"".join(body + b"\0" * (-len(body) % 32) for _, _, body in tensors.values())
    assert len(header) + len(data) == size
    path.write_bytes(header + data)
    return path


def metadata_of(config: Mapping[str, Any]) -> dict[str, object]:
    """What the header of a converted model says."""
    kind = config["model_type"]
    arch = _ARCHITECTURES.get(kind, kind)
    said = {
        "block_count": config["num_hidden_layers"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "context_length": config["max_position_embeddings"],
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.key_length": config.get("head_dim"),
        "attention.sliding_window": config.get("sliding_window"),
        "attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        "rope.freq_base": config["rope_theta"],
        "rope.dimension_count": config.get("qk_rope_head_dim"),
        "expert_count": config.get("num_experts", config.get("num_local_experts", config.get("n_routed_experts"))),
        "expert_used_count": config.get("num_experts_per_tok"),
        "expert_feed_forward_length": config.get("moe_intermediate_size"),
        "attention.kv_lora_rank": config.get("kv_lora_rank"),
        "attention.q_lora_rank": config.get("q_lora_rank"),
        "leading_dense_block_count": config.get("first_k_dense_replace"),
        "expert_shared_count": config.get("n_shared_experts"),
        "expert_weights_scale": config.get("routed_scaling_factor"),
        "expert_gating_func": 2 if kind == "deepseek_v3" else 1,
        "expert_group_count": config.get("n_group"),
        "expert_group_used_count": config.get("topk_group"),
        "attn_logit_softcapping": config.get("attn_logit_softcapping"),
        "final_logit_softcapping": config.get("final_logit_softcapping"),
    }
    if "kv_lora_rank" in config:
        said["attention.key_length"] = config["kv_lora_rank"] + config["qk_rope_head_dim"]
        said["attention.value_length"] = config["kv_lora_rank"]
        said["attention.key_length_mla"] = config["qk_nope_head_dim"] + config["qk_rope_head_dim"]
        said["attention.value_length_mla"] = config["v_head_dim"]
    return {"general.architecture": arch, **{f"{arch}.{key}": value for key, value in said.items() if value is not None}}


def converted(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors as the converter writes them."""
    found: dict[str, torch.Tensor] = {}
    stacks: dict[str, list[torch.Tensor]] = {}
    for name, tensor in tensors.items():
        for target, value in _converted(config, name, tensor).items():
            if target.endswith("+"):
                stacks.setdefault(target[:-1], []).append(value)
            else:
                found[target] = value
    return found | {name: torch.stack(parts) for name, parts in stacks.items()}


def _converted(config: Mapping[str, Any], name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    kind = config["model_type"]
    if kind in ("gemma", "gemma2", "gemma3_text") and name.endswith("norm.weight"):
        tensor = tensor + 1
    outside = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    stem, _, leaf = name.rpartition(".")
    if stem in outside:
        return {f"{outside[stem]}.{leaf}": tensor}
    layer, _, rest = name.removeprefix("model.layers.").partition(".")
    at = f"blk.{layer}"
    if ".experts." in rest:
        return _experts(at, rest, tensor)
    stem, _, leaf = rest.rpartition(".")
    if stem == "self_attn.kv_b_proj":
        return _kv_b(at, config, tensor)
    if rest in _WORDS:  # no weight or bias behind the name
        return {f"{at}.{_WORDS[rest]}.{'bias' if 'bias' in rest else 'weight'}": tensor}
    if kind in ("llama", "mistral", "mixtral") and stem in ("self_attn.q_proj", "self_attn.k_proj"):
        heads = config["num_attention_heads" if "q_proj" in stem else "num_key_value_heads"]
        tensor = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)
    return {f"{at}.{_WORDS.get(stem) or _norm(kind, stem)}.{leaf}": tensor}


def _norm(kind: str, stem: str) -> str:
    if kind in ("gemma2", "gemma3_text"):
        return {
            "post_attention_layernorm": "post_attention_norm",
            "pre_feedforward_layernorm": "ffn_norm",
            "post_feedforward_layernorm": "post_ffw_norm",
        }[stem]
    return {"post_attention_layernorm": "post_attention_norm" if kind == "gpt_oss" else "ffn_norm"}[stem]


def _experts(at: str, rest: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """Stacked; gpt-oss's, which are stacked already, are turned, and gate and up taken apart."""
    word = rest.split(".experts.")[1]
    if word.startswith(("gate_up_proj", "down_proj")) and not word.endswith(".weight"):
        leaf = "bias" if word.endswith("_bias") else "weight"
        turned = tensor if leaf == "bias" else tensor.transpose(1, 2)
        if word.startswith("down"):
            return {f"{at}.ffn_down_exps.{leaf}": turned}
        return {f"{at}.ffn_gate_exps.{leaf}": turned[:, ::2], f"{at}.ffn_up_exps.{leaf}": turned[:, 1::2]}
    name = {"w1": "gate", "w3": "up", "w2": "down"}.get(word.split(".")[1], word.split(".")[1].removesuffix("_proj"))
    return {f"{at}.ffn_{name}_exps.weight+": tensor}


def _kv_b(at: str, config: Mapping[str, Any], tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    nope, value = config["qk_nope_head_dim"], config["v_head_dim"]
    keys, values = tensor.view(config["num_attention_heads"], nope + value, -1).split([nope, value], dim=1)
    return {f"{at}.attn_k_b.weight": keys.transpose(1, 2), f"{at}.attn_v_b.weight": values}
