"""What a stored tensor does, by its name: first as the blueprint names it, then as the field's checkpoints do."""

import re
from collections.abc import Mapping

from ullage.domain.checkpoint import Part, Role, Tensor
from ullage.domain.family import Blueprint
from ullage.formats._patterns import bare_name
from ullage.frozen import dataclass

# Last words of tensors that belong to a weight, by what they hold; the weight's name is what stands before.
_ENDINGS: dict[Part, str] = {
    Part.WEIGHT: "weight qweight weight_packed packed q_weight trellis blocks W_q weight._data",
    Part.BIAS: "bias",
    Part.SCALE: """
        weight_scale_inv scale_inv weight_scale weight_scale_2 scale_2 weight_global_scale global_scale input_global_scale
        input_scale scales scale SCB weight_format suh svh su sv mcg mul1 q_scale q_scale_max pre_quant_scale k_scale v_scale
        weight_scales weight.absmax weight.quant_map weight.nested_absmax weight.nested_quant_map weight._scale
        weight.quant_state.bitsandbytes__nf4 weight.quant_state.bitsandbytes__fp4
    """,
    Part.ZERO: "qzeros weight_zero_point zero_point zero zeros weight._shift",
    Part.INDEX: "g_idx weight_g_idx weight_shape shape q_groups q_invperm q_perm",
}
# After a dot, or after an underscore where experts are stacked in one tensor; the longest fits first.
_SUFFIXES = sorted(
    ((joint + word, part) for part, words in _ENDINGS.items() for word in words.split() for joint in "._"),
    key=lambda ending: -len(ending[0]),
)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What a blueprint knows by name: each tensor, and the role and layer of each weight whatever it is stored as."""

    tensors: Mapping[str, Tensor]
    places: Mapping[str, tuple[Role, int | None]]
    numbers: re.Pattern[str]  # where a number stands for one of several alike
    decoder_layers: int


Place = tuple[Role, int | None]


def numbered_to_any(name: str, numbers: re.Pattern[str]) -> str:
    """``experts.17.`` to ``experts.{expert}.``."""
    return numbers.sub(r"\1{expert}", name)


def weight_and_part(name: str) -> tuple[str, Part]:
    """The name of the weight that a stored tensor belongs to, and what it holds of it."""
    for suffix, part in _SUFFIXES:
        if name.endswith(suffix):
            return name.removesuffix(suffix), part
    return name, Part.WEIGHT


def known_by(blueprint: Blueprint) -> Known:
    """The blueprint's names, without the wrappers before them."""
    named = {bare_name(tensor.name): tensor for tensor in blueprint.tensors}
    places: dict[str, Place] = {}
    for name, tensor in named.items():
        places.setdefault(weight_and_part(name)[0], (tensor.role, tensor.layer))
    # The word before the number, such as "experts." or "shard_".
    before = (re.search(r"[^.]+\.?$", name.partition("{expert}")[0]) for name in named if "{expert}" in name)
    words = {"experts.", *(found[0] for found in before if found)}
    numbers = re.compile(f"({'|'.join(map(re.escape, sorted(words)))})\\d+(?=\\.|$)")
    return Known(tensors=named, places=places, numbers=numbers, decoder_layers=len(blueprint.architecture.layers))


def place(name: str, known: Known) -> Place | None:
    """Role and layer of a stored tensor's weight, or None when neither the blueprint nor the field knows the name."""
    stem, part = weight_and_part(bare_name(name))
    if stem in known.places:
        return known.places[stem]
    if part is Part.SCALE and name.endswith((".k_scale", ".v_scale", ".q_scale")):
        return Role.ATTENTION_OTHER, _layer(name)
    if _PROJECTOR.search(name):
        return Role.PROJECTOR, None
    if _TOWER.search(name):
        return Role.VISION, None
    layer = _layer(name)
    if bare_name(name).startswith("mtp.") or (layer is not None and layer >= known.decoder_layers):
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
