"""The names llama.cpp gives tensors, for the patterns of ``--override-tensor``."""

import re
from functools import lru_cache

from ullage.domain.checkpoint import Part, Role, Tensor

_STEMS = {
    Role.EMBEDDING: "token_embd",
    Role.HEAD: "output",
    Role.NORM: "attn_norm",
    Role.Q: "attn_q",
    Role.K: "attn_k",
    Role.V: "attn_v",
    Role.QKV: "attn_qkv",
    Role.O: "attn_output",
    Role.Q_A: "attn_q_a",
    Role.Q_B: "attn_q_b",
    Role.KV_A: "attn_kv_a_mqa",
    Role.KV_B: "attn_k_b",
    Role.GATE: "ffn_gate",
    Role.UP: "ffn_up",
    Role.GATE_UP: "ffn_up",
    Role.DOWN: "ffn_down",
    Role.ROUTER: "ffn_gate_inp",
    Role.EXPERT_GATE: "ffn_gate_exps",
    Role.EXPERT_UP: "ffn_up_exps",
    Role.EXPERT_GATE_UP: "ffn_gate_up_exps",
    Role.EXPERT_DOWN: "ffn_down_exps",
    Role.SHARED_GATE: "ffn_gate_shexp",
    Role.SHARED_UP: "ffn_up_shexp",
    Role.SHARED_DOWN: "ffn_down_shexp",
    Role.SHARED_ROUTER: "ffn_gate_inp_shexp",
    Role.RECURRENT_IN: "ssm_in",
    Role.RECURRENT_OUT: "ssm_out",
    Role.RECURRENT_CONV: "ssm_conv1d",
    Role.INDEXER: "indexer.attn_k",
}
_LONGEST_PATTERN = 400
EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
DENSE = r"\.ffn_(up|down|gate|gate_up)\."


def gguf_name(tensor: Tensor) -> str:
    """The tensor's name in a GGUF file; a tensor of no known name keeps its own."""
    if tensor.name.startswith(("blk.", "token_embd", "output")) or tensor.role not in _STEMS:
        return tensor.name
    stem = _STEMS[tensor.role] + (".bias" if tensor.part is Part.BIAS else ".weight")
    return stem if tensor.layer is None else f"blk.{tensor.layer}.{stem}"


@lru_cache(maxsize=256)
def read_overrides(text: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """``REGEX=BUFFER,...`` as patterns in order; what is no pattern is left out."""
    found = []
    for part in text.split(","):
        pattern, sign, buffer = part.rpartition("=")
        if not sign or len(pattern) > _LONGEST_PATTERN:
            continue
        try:
            found.append((re.compile(pattern), buffer.strip()))
        except (re.error, OverflowError, RecursionError):
            continue
    return tuple(found)
