"""The configuration a GGUF file carries, in the words of the family that Transformers gives it."""

import difflib
from collections.abc import Callable

from ullage.domain.hyperparameters import Json
from ullage.domain.weight_format import Header
from ullage.errors import MalformedFileError, UnsupportedModelError

# llama.cpp's architecture and the model_type whose layers it has; None where the file decides which.
_MODEL_TYPES: dict[str, str | None] = {
    "llama": None,
    "mistral3": "mistral",
    "qwen2": "qwen2",
    "qwen2moe": "qwen2_moe",
    "qwen3": "qwen3",
    "qwen3moe": "qwen3_moe",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
    "phi3": "phi3",
    "deepseek2": None,
    "gpt-oss": "gpt_oss",
    "starcoder2": "starcoder2",
    "command-r": "cohere",
    "cohere2": "cohere2",
    "falcon": "falcon",
    "olmo2": "olmo2",
    "granite": "granite",
    "smollm3": "smollm3",
    "seed_oss": "seed_oss",
    "stablelm": "stablelm",
}
_COMMON = {
    "hidden_size": "embedding_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "intermediate_size": "feed_forward_length",
    "max_position_embeddings": "context_length",
    "head_dim": "attention.key_length",
    "sliding_window": "attention.sliding_window",
}
_SCALINGS = ("linear", "yarn")


class _File:
    """What the functions below ask of a header."""

    def __init__(self, header: Header) -> None:
        self.metadata = dict(header.metadata)
        self.shapes = {tensor.name: tensor.shape for tensor in header.tensors}
        self.bf16 = any(tensor.dtype == "BF16" for tensor in header.tensors)
        arch = self.metadata.get("general.architecture")
        if not isinstance(arch, str):
            raise MalformedFileError("the GGUF metadata has no general.architecture")
        self.arch = arch

    def value(self, key: str) -> Json:
        """The architecture's metadata; a list of equal numbers is that number."""
        found = self.metadata.get(f"{self.arch}.{key}")
        if isinstance(found, list) and found and all(item == found[0] for item in found):
            return found[0]
        return found

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number. Raises MalformedFileError where it is missing without a default."""
        found = self.value(key)
        if found is None and default is not None:
            return default
        if type(found) is not int:
            raise MalformedFileError(f"the GGUF metadata {self.arch}.{key} should be a whole number, but is {str(found)[:60]}")
        return found

    def shape(self, word: str) -> tuple[int, ...]:
        """The shape of the first block's tensor of that name, or () where no block has one."""
        end = f".{word}.weight"
        return next((shape for name, shape in self.shapes.items() if name.startswith("blk.") and name.endswith(end)), ())

    def width(self, key: str, word: str) -> int:
        """An expert's width: from the metadata, or as in older files from a stacked or shared tensor's shape."""
        shape = self.shape(word)
        return self.integer(key, shape[-2] if len(shape) > 1 else None)


def gguf_config(header: Header) -> dict[str, Json]:
    """What ``config.json`` would say. Raises UnsupportedModelError for an architecture without a known family."""
    file = _File(header)
    if file.arch not in _MODEL_TYPES:
        near = difflib.get_close_matches(file.arch, _MODEL_TYPES, n=4, cutoff=0.5) or sorted(_MODEL_TYPES)
        raise UnsupportedModelError(f"general.architecture is {file.arch[:40]!r}; the nearest known are {', '.join(near)}")
    config = _common(file)
    own = _OWN.get(file.arch)
    if own is not None:
        config |= own(file)
    return {key: value for key, value in config.items() if value is not None}


def _common(file: _File) -> dict[str, Json]:
    config: dict[str, Json] = {key: file.value(source) for key, source in _COMMON.items()}
    for key, value in config.items():
        if isinstance(value, list):
            raise UnsupportedModelError(f"{file.arch}.{_COMMON[key]} differs from layer to layer, for which there is no rule")
    embedding = file.shapes.get("token_embd.weight")
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    length = tokens.get("length") if isinstance(tokens, dict) else len(tokens) if isinstance(tokens, list) else None
    return config | {
        "model_type": _MODEL_TYPES[file.arch],
        "num_hidden_layers": file.integer("block_count") - file.integer("nextn_predict_layers", 0),
        "vocab_size": embedding[0] if embedding else file.value("vocab_size") or length,
        "tie_word_embeddings": "output.weight" not in file.shapes,
        "torch_dtype": "bfloat16" if file.bf16 else "float16",
        "rope_scaling": _scaling(file),
        "attention_bias": True if "blk.0.attn_q.bias" in file.shapes and file.arch not in _ALWAYS_BIASED else None,
    }


_ALWAYS_BIASED = ("qwen2", "qwen2moe", "starcoder2", "stablelm", "seed_oss")


def _scaling(file: _File) -> Json:
    kind = file.value("rope.scaling.type")
    if kind not in _SCALINGS:
        return None
    original = file.value("rope.scaling.original_context_length")
    return {"rope_type": kind, "factor": file.value("rope.scaling.factor"), "original_max_position_embeddings": original}


def _llama(file: _File) -> dict[str, Json]:
    if not file.integer("expert_count", 0):
        return {"model_type": "llama"}
    return {"model_type": "mixtral", "num_local_experts": file.integer("expert_count"), **_per_token(file)}


def _per_token(file: _File) -> dict[str, Json]:
    return {"num_experts_per_tok": file.integer("expert_used_count")}


def _qwen_experts(file: _File) -> dict[str, Json]:
    width = file.width("expert_feed_forward_length", "ffn_up_exps")
    return {"num_experts": file.integer("expert_count"), "moe_intermediate_size": width, **_per_token(file)}


def _qwen2_experts(file: _File) -> dict[str, Json]:
    return _qwen_experts(file) | {"shared_expert_intermediate_size": file.width("expert_shared_feed_forward_length", "ffn_up_shexp")}


def _gpt_oss(file: _File) -> dict[str, Json]:
    width = file.width("expert_feed_forward_length", "ffn_up_exps")
    return {"num_local_experts": file.integer("expert_count"), "intermediate_size": width, **_per_token(file)}


def _deepseek(file: _File) -> dict[str, Json]:
    """Newer files state the compressed key length and, under ``_mla``, the heads' own."""
    rope = file.integer("rope.dimension_count")
    key = file.integer("attention.key_length_mla", file.integer("attention.key_length"))
    experts = file.integer("expert_count", 0)
    return {
        "model_type": "deepseek_v3" if any(".exp_probs_b" in name for name in file.shapes) else "deepseek_v2",
        "head_dim": None,
        "num_key_value_heads": file.integer("attention.head_count"),
        "kv_lora_rank": file.integer("attention.kv_lora_rank"),
        "q_lora_rank": file.value("attention.q_lora_rank"),
        "qk_rope_head_dim": rope,
        "qk_nope_head_dim": key - rope,
        "v_head_dim": file.integer("attention.value_length_mla", file.integer("attention.value_length")),
        "n_routed_experts": experts or None,
        "n_shared_experts": file.value("expert_shared_count"),
        "moe_intermediate_size": file.width("expert_feed_forward_length", "ffn_up_exps"),
        "first_k_dense_replace": file.integer("leading_dense_block_count", 0),
        "num_experts_per_tok": file.value("expert_used_count"),
        "num_nextn_predict_layers": file.value("nextn_predict_layers"),
    }


def _falcon(file: _File) -> dict[str, Json]:
    kv_heads = file.integer("attention.head_count_kv", 1)
    newer = "blk.0.attn_norm_2.weight" in file.shapes
    return {"num_kv_heads": kv_heads, "new_decoder_architecture": newer, "multi_query": kv_heads == 1, "num_key_value_heads": None}


def _stablelm(file: _File) -> dict[str, Json]:
    return {"use_qkv_bias": "blk.0.attn_q.bias" in file.shapes}


def _cohere(file: _File) -> dict[str, Json]:
    return {"use_qk_norm": True if file.shape("attn_q_norm") else None}


_OWN: dict[str, Callable[[_File], dict[str, Json]]] = {
    "llama": _llama,
    "qwen3moe": _qwen_experts,
    "qwen2moe": _qwen2_experts,
    "gpt-oss": _gpt_oss,
    "deepseek2": _deepseek,
    "falcon": _falcon,
    "command-r": _cohere,
    "stablelm": _stablelm,
}
