"""llama.cpp's names of tensors and Transformers' names for the same, family by family."""

from collections.abc import Mapping

from ullage.errors import UnsupportedModelError
from ullage.frozen import dataclass

_OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_ATTENTION = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}
_HEAD_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
_MLP = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
_PRE_NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_FOUR_NORMS = {
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_DENSE = {**_ATTENTION, **_MLP, **_PRE_NORMS}
_ROUTED = {**_DENSE, "ffn_gate_inp": "mlp.gate"}
_LATENT = {
    "attn_q_a": "self_attn.q_a_proj",
    "attn_q_a_norm": "self_attn.q_a_layernorm",
    "attn_q_b": "self_attn.q_b_proj",
    "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa",
    "attn_kv_a_norm": "self_attn.kv_a_layernorm",
    "attn_kv_b": "self_attn.kv_b_proj",
    "exp_probs_b": "mlp.gate.e_score_correction_bias",
}


def _shared(name: str) -> dict[str, str]:
    return {f"ffn_{word}_shexp": f"mlp.{name}.{word}_proj" for word in ("gate", "up", "down")}


_STEMS: Mapping[str, Mapping[str, str]] = {
    "llama": _DENSE,
    "mistral": _DENSE,
    "mixtral": {**_DENSE, "ffn_gate_inp": "block_sparse_moe.gate"},
    "qwen2": _DENSE,
    "qwen3": {**_DENSE, **_HEAD_NORMS},
    "qwen2_moe": {**_ROUTED, **_shared("shared_expert"), "ffn_gate_inp_shexp": "mlp.shared_expert_gate"},
    "qwen3_moe": {**_ROUTED, **_HEAD_NORMS},
    "gemma": _DENSE,
    "gemma2": {**_ATTENTION, **_MLP, **_FOUR_NORMS},
    "gemma3_text": {**_ATTENTION, **_MLP, **_FOUR_NORMS, **_HEAD_NORMS},
    "phi3": {**_ATTENTION, **_PRE_NORMS, "attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj", "ffn_down": "mlp.down_proj"},
    "deepseek_v2": {**_ROUTED, **_LATENT, **_shared("shared_experts")},
    "deepseek_v3": {**_ROUTED, **_LATENT, **_shared("shared_experts")},
    "gpt_oss": {
        **_ATTENTION,
        "attn_sinks": "self_attn.sinks",
        "attn_norm": "input_layernorm",
        "post_attention_norm": "post_attention_layernorm",
        "ffn_gate_inp": "mlp.router",
    },
}
KNOWN = frozenset(_STEMS)  # families whose GGUF files are read; the others are run from safetensors directories
_PAIRED = frozenset({"llama", "mistral3"})  # architectures whose queries and keys are stored for rotation of neighbours
_PLUS_ONE = ("gemma", "gemma2", "gemma3")  # norms are stored as what they multiply by; Transformers adds the one itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names of one family's tensors.

    ``outside`` are whole names, ``stems`` those in a block between its number and ``weight`` or ``bias``; ``experts`` is what
    stands before an expert's number and ``words`` are its matrices. ``heads_of`` says which configuration key counts the heads of
    a tensor whose rows have another order in the file.
    """

    architecture: str
    outside: Mapping[str, str]
    stems: Mapping[str, str]
    experts: str
    words: Mapping[str, str]
    heads_of: Mapping[str, str]

    def shift(self, stored: str) -> float:
        """What is to be added to the values of a tensor."""
        return -1.0 if self.architecture in _PLUS_ONE and stored.endswith("norm.weight") else 0.0


def names_of(architecture: str, model_type: str) -> Names:
    """The names in files of llama.cpp's ``architecture``. Raises UnsupportedModelError for a family that the runtime does not know."""
    if model_type not in KNOWN:
        raise UnsupportedModelError(
            f"general.architecture is {architecture[:40]!r} ({model_type}); GGUF weights are read for {', '.join(sorted(KNOWN))}"
        )
    mixtral = model_type == "mixtral"
    paired = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"} if architecture in _PAIRED else {}
    return Names(
        architecture=architecture,
        outside=_OUTSIDE,
        stems=_STEMS[model_type],
        experts="block_sparse_moe.experts" if mixtral else "mlp.experts",
        words={"gate": "w1", "up": "w3", "down": "w2"} if mixtral else {word: f"{word}_proj" for word in ("gate", "up", "down")},
        heads_of=paired,
    )
