"""What a stored tensor does, by its name: first as the blueprint names it, then as the field's checkpoints do."""

import re
from collections.abc import Mapping

from ullage.domain.checkpoint import Part, Role
from ullage.domain.family import Blueprint
from ullage.formats._modules import bare_name

# Last words of tensors that belong to a weight, and what they hold; the weight's name is what stands before.
_SUFFIXES: tuple[tuple[str, Part], ...] = (
    (".weight", Part.WEIGHT),
    (".bias", Part.BIAS),
    *((f".{word}", Part.WEIGHT) for word in ("qweight", "weight_packed", "q_weight", "trellis", "W_q", "_packed", "_data")),
    *(
        (f".{word}", Part.SCALE)
        for word in ("weight_scale_inv", "weight_scale", "weight_scale_2", "weight_global_scale", "input_global_scale")
    ),
    *(
        (f".{word}", Part.SCALE)
        for word in ("input_scale", "scales", "scale", "SCB", "weight_format", "suh", "svh", "su", "sv", "mcg", "mul1")
    ),
    *((f".{word}", Part.SCALE) for word in ("q_scale", "q_scale_max", "pre_quant_scale", "k_scale", "v_scale", "q_scale", "weight_scales")),
    *((f".weight.{word}", Part.SCALE) for word in ("absmax", "quant_map", "nested_absmax", "nested_quant_map", "_scale")),
    *((f".weight.quant_state.bitsandbytes__{word}", Part.SCALE) for word in ("nf4", "fp4")),
    *((f".{word}", Part.ZERO) for word in ("qzeros", "weight_zero_point", "zero", "zeros", "zero_point")),
    *(
        (f".{word}", Part.INDEX)
        for word in ("g_idx", "weight_g_idx", "weight_shape", "q_groups", "q_invperm", "q_perm", "weight_block_shape")
    ),
    ("_blocks", Part.WEIGHT),
    *((f"_{word}", Part.SCALE) for word in ("scales", "scale_inv", "scale", "weight_scale", "scale_2", "input_scale")),
    ("_bias", Part.BIAS),
)
_EXPERT = re.compile(r"\.experts\.\d+(?=\.|$)")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block)\.(\d{1,4})\.")
_TOWER = re.compile(r"(?:^|\.)(?:visual|vision\w*|audio\w*|image\w*|embed_vision|embed_audio|whisper|speech\w*)\.")
_PROJECTOR = re.compile(r"(?:^|\.)(?:multi_modal_projector|mm_projector|connector|merger|patch_merge_mlp)\.")
_LEAVES: Mapping[str, Role] = {
    "embed_tokens": Role.EMBEDDING,
    "wte": Role.EMBEDDING,
    "word_embeddings": Role.EMBEDDING,
    "lm_head": Role.HEAD,
    "q_proj": Role.Q,
    "k_proj": Role.K,
    "v_proj": Role.V,
    "qkv_proj": Role.QKV,
    "o_proj": Role.O,
    "q_a_proj": Role.Q_A,
    "q_b_proj": Role.Q_B,
    "kv_a_proj_with_mqa": Role.KV_A,
    "kv_b_proj": Role.KV_B,
    "gate_proj": Role.GATE,
    "up_proj": Role.UP,
    "gate_up_proj": Role.GATE_UP,
    "down_proj": Role.DOWN,
    "router": Role.ROUTER,
    "in_proj": Role.RECURRENT_IN,
    "out_proj": Role.RECURRENT_OUT,
    "conv1d": Role.RECURRENT_CONV,
}
_OF_EXPERTS: Mapping[str, Role] = {
    **dict.fromkeys(("gate_proj", "w1"), Role.EXPERT_GATE),
    **dict.fromkeys(("up_proj", "w3"), Role.EXPERT_UP),
    **dict.fromkeys(("down_proj", "w2"), Role.EXPERT_DOWN),
    "gate_up_proj": Role.EXPERT_GATE_UP,
}
_OF_SHARED: Mapping[str, Role] = {"gate_proj": Role.SHARED_GATE, "up_proj": Role.SHARED_UP, "down_proj": Role.SHARED_DOWN}

Place = tuple[Role, int | None]


def numbered_to_any(name: str) -> str:
    """``experts.17.`` to ``experts.{expert}.``."""
    return _EXPERT.sub(".experts.{expert}", name)


def weight_and_part(name: str) -> tuple[str, Part]:
    """The name of the weight that a stored tensor belongs to, and what it holds of it."""
    for suffix, part in _SUFFIXES:
        if name.endswith(suffix):
            return name.removesuffix(suffix), part
    return name, Part.WEIGHT


def places(blueprint: Blueprint) -> dict[str, Place]:
    """The role and layer of every weight of a blueprint, by its bare name."""
    found: dict[str, Place] = {}
    for tensor in blueprint.tensors:
        stem, _ = weight_and_part(bare_name(tensor.name))
        found.setdefault(stem, (tensor.role, tensor.layer))
    return found


def place(name: str, known: Mapping[str, Place], decoder_layers: int) -> Place | None:
    """Role and layer of a stored tensor's weight, or None when neither the blueprint nor the field knows the name."""
    stem, part = weight_and_part(bare_name(numbered_to_any(name)))
    if stem in known:
        return known[stem]
    if part is Part.SCALE and name.endswith((".k_scale", ".v_scale", ".q_scale")):
        return Role.ATTENTION_OTHER, _layer(name)
    if _PROJECTOR.search(name):
        return Role.PROJECTOR, None
    if _TOWER.search(name):
        return Role.VISION, None
    layer = _layer(name)
    if bare_name(name).startswith("mtp.") or (layer is not None and layer >= decoder_layers):
        return Role.MTP, None
    role = _by_words(stem)
    return None if role is None else (role, layer)


def _layer(name: str) -> int | None:
    found = _LAYER.search(name)
    return int(found[1]) if found else None


def _by_words(stem: str) -> Role | None:
    leaf = stem.rpartition(".")[2]
    if "norm" in leaf or leaf.startswith("ln_"):
        return Role.NORM
    if ".experts" in stem:
        return _OF_EXPERTS.get(leaf)
    if ".shared_expert" in stem:
        return _OF_SHARED.get(leaf)
    return _LEAVES.get(leaf)
