"""What the tensors of a GGUF file do: llama.cpp's names, the same for all architectures."""

import re

from ullage.catalog.tensor_formats import stored_format
from ullage.domain.checkpoint import EXPERT_ROLES, Part, Role, Tensor
from ullage.domain.weight_format import Header, StoredTensor

_BLOCK = re.compile(r"blk\.(\d{1,4})\.(.+)")
_DOWN = re.compile(r"blk\.(\d{1,4})\.ffn_down\.weight")
_OLD_EXPERT = re.compile(r"ffn_(?:gate|up|down)\.\d+")
_GLOBAL = {
    "token_embd": Role.EMBEDDING,
    "output": Role.HEAD,
    "output_norm": Role.NORM,
    "token_embd_norm": Role.NORM,
    "position_embd": Role.POSITION,
    "token_types": Role.POSITION,
    "per_layer_token_embd": Role.EMBEDDING,
    "rope_freqs": Role.OTHER,
    "rope_factors_long": Role.OTHER,
    "rope_factors_short": Role.OTHER,
}
FILE_TYPES = {
    0: "f32",
    1: "f16",
    2: "q4_0",
    3: "q4_1",
    7: "q8_0",
    8: "q5_0",
    9: "q5_1",
    10: "q2_k",
    11: "q3_k_s",
    12: "q3_k_m",
    13: "q3_k_l",
    14: "q4_k_s",
    15: "q4_k_m",
    16: "q5_k_s",
    17: "q5_k_m",
    18: "q6_k",
    19: "iq2_xxs",
    20: "iq2_xs",
    21: "q2_k_s",
    22: "iq3_xs",
    23: "iq3_xxs",
    24: "iq1_s",
    25: "iq4_nl",
    26: "iq3_s",
    27: "iq3_m",
    28: "iq2_s",
    29: "iq2_m",
    30: "iq4_xs",
    31: "iq1_m",
    32: "bf16",
    36: "tq1_0",
    37: "tq2_0",
    38: "mxfp4_moe",
    39: "nvfp4",
    40: "q1_0",
}
_IN_BLOCK = {
    "attn_q": Role.Q,
    "attn_k": Role.K,
    "attn_v": Role.V,
    "attn_qkv": Role.QKV,
    "attn_output": Role.O,
    "attn_q_a": Role.Q_A,
    "attn_q_b": Role.Q_B,
    "attn_kv_a_mqa": Role.KV_A,
    "attn_kv_b": Role.KV_B,
    "attn_k_b": Role.KV_B,  # the two halves of kv_b in newer files
    "attn_v_b": Role.KV_B,
    "attn_sinks": Role.ATTENTION_OTHER,
    "attn_gate": Role.ATTENTION_OTHER,
    "attn_rot_embd": Role.OTHER,
    "ffn_gate": Role.GATE,
    "ffn_up": Role.UP,
    "ffn_down": Role.DOWN,
    "ffn_gate_inp": Role.ROUTER,
    "exp_probs_b": Role.ROUTER,
    "ffn_gate_exps": Role.EXPERT_GATE,
    "ffn_up_exps": Role.EXPERT_UP,
    "ffn_gate_up_exps": Role.EXPERT_GATE_UP,
    "ffn_down_exps": Role.EXPERT_DOWN,
    "ffn_gate_inp_shexp": Role.SHARED_ROUTER,
    "ffn_gate_shexp": Role.SHARED_GATE,
    "ffn_up_shexp": Role.SHARED_UP,
    "ffn_down_shexp": Role.SHARED_DOWN,
    "ssm_out": Role.RECURRENT_OUT,
    "ssm_a": Role.RECURRENT_STATE,
    "ssm_d": Role.RECURRENT_STATE,
    "ssm_dt": Role.RECURRENT_IN,
    "inp_gate": Role.OTHER,
    "proj": Role.OTHER,
    "layer_output_scale": Role.OTHER,
}
_ATTENTION_OF_STATE_SPACE = {Role.QKV: Role.RECURRENT_IN, Role.ATTENTION_OTHER: Role.RECURRENT_IN}
_TOWERS = {"v": Role.VISION, "a": Role.VISION, "mm": Role.PROJECTOR}


def is_gguf(header: Header) -> bool:
    """Whether a header is that of a GGUF file."""
    return any(key == "general.architecture" for key, _ in header.metadata)


def file_type(headers: tuple[Header, ...]) -> str | None:
    """What ``general.file_type`` says the file mostly is, or None."""
    values = [value for header in headers for key, value in header.metadata if key == "general.file_type"]
    return FILE_TYPES.get(values[0]) if values and isinstance(values[0], int) else None


def tensors_of(stored: tuple[StoredTensor, ...], *, decoder_layers: int) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
    """The tensors with their roles, and the names that are not known. Blocks from ``decoder_layers`` on are draft layers."""
    down = {found[1]: tensor.shape[-1] for tensor in stored if (found := _DOWN.fullmatch(tensor.name))}
    recurrent = {found[1] for tensor in stored if (found := _BLOCK.match(tensor.name)) and found[2].startswith("ssm_conv1d")}
    tensors, unknown = [], []
    for entry in stored:
        role, layer, known = _place(entry.name, recurrent)
        if role is Role.UP and layer is not None and entry.shape[0] == 2 * down.get(str(layer), 0):
            role = Role.GATE_UP  # both in one, twice as wide as what comes down
        if layer is not None and layer >= decoder_layers:
            role, layer = Role.MTP, None
        if not known:
            unknown.append(entry.name)
        tensors.append(_tensor(entry, role, layer))
    return tuple(tensors), tuple(unknown)


def _place(name: str, recurrent: set[str]) -> tuple[Role, int | None, bool]:
    """(role, layer, whether the name is known)."""
    found = _BLOCK.fullmatch(name)
    if found is None:
        stem = name.removesuffix(".weight").removesuffix(".bias")
        role = _TOWERS.get(name.partition(".")[0]) or _GLOBAL.get(stem)
        return role or Role.OTHER, None, role is not None
    layer, stem = int(found[1]), found[2].removesuffix(".weight").removesuffix(".bias").removesuffix(".scale")
    role = _by_kind(stem) or _IN_BLOCK.get(stem, Role.RECURRENT_IN if stem.startswith("ssm_") else None)
    if role is not None and found[1] in recurrent:
        role = _ATTENTION_OF_STATE_SPACE.get(role, role)
    return role or Role.OTHER, layer, role is not None


def _by_kind(stem: str) -> Role | None:
    """The role of tensors whose names have a part that says it."""
    if "norm" in stem:
        return Role.NORM
    if stem.startswith("nextn."):
        return Role.MTP
    if stem.startswith("indexer."):
        return Role.INDEXER
    if stem.startswith("ssm_conv1d"):
        return Role.RECURRENT_CONV
    if _OLD_EXPERT.fullmatch(stem):  # one matrix for each expert, before they were stacked
        return _IN_BLOCK[f"{stem.partition('.')[0]}_exps"]
    return None


def _tensor(entry: StoredTensor, role: Role, layer: int | None) -> Tensor:
    """Stacked experts become one expert's matrix and a number of copies."""
    stacked = role in EXPERT_ROLES and "_exps" in entry.name and len(entry.shape) > 1
    part = Part.BIAS if entry.name.endswith((".bias", "exp_probs_b")) else Part.SCALE if entry.name.endswith(".scale") else Part.WEIGHT
    return Tensor(
        name=entry.name,
        role=role,
        layer=layer,
        shape=entry.shape[1:] if stacked else entry.shape,
        format=stored_format(entry.dtype),
        copies=entry.shape[0] if stacked else 1,
        part=part,
    )
