"""Where the classic server puts what: layers in runs over the GPUs, routed experts and the token table on the host."""

from functools import lru_cache
from itertools import pairwise

from ullage.catalog.tensor_formats import BF16, GGML_BY_NAME
from ullage.domain.case import Case, Model
from ullage.domain.checkpoint import EXPERT_ROLES, LINEAR_ROLES, Part, Role, Tensor, TensorFormat
from ullage.engines.ktransformers.versions import classic_rules
from ullage.formulas.placement import Span
from ullage.frozen import dataclass

MARLIN = TensorFormat(name="marlin 4-bit, a 16-bit scale for 64 weights", block_elements=64, block_bytes=34)
FP8 = TensorFormat(name="fp8, a 32-bit scale for 128 x 128 weights", block_elements=16384, block_bytes=16388)
OPS = {"KLinearMarlin": MARLIN, "KLinearFP8": FP8, "KLinearTorch": BF16}
_ATTENTION = frozenset({Role.Q, Role.K, Role.V, Role.QKV, Role.O, Role.Q_A, Role.Q_B, Role.KV_A})
_NOT_LOADED = frozenset({Role.MTP, Role.VISION, Role.PROJECTOR})
_MIXED = {"q4_k_m": ("q4_k", "q6_k"), "q5_k_m": ("q5_k", "q6_k")}
PLAIN = frozenset({"bfloat16", "float16", "float32"})
GGUF_BLOCKS = frozenset(name for name, fmt in GGML_BY_NAME.items() if fmt.block_elements > 1)
UNREADABLE_DEFAULT = "q4_k_m"  # the type of the project's own instructions


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Bytes of every layer on its GPU, of the head and last norm, and of the host's experts by layer and token table."""

    layers: tuple[int, ...]
    tail: int
    experts: tuple[int, ...]
    table: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One GPU's run of layers; ``tail`` says that the last norm and the head lie here."""

    device: str
    first: int
    end: int
    tail: bool
    nbytes: int


def plain_tensors(model: Model) -> tuple[Tensor, ...]:
    """The tensors before any scheme: what is repacked is counted by weights, whatever the file holds."""
    return (model.unquantised or model.checkpoint).tensors


def parts(case: Case) -> Parts:
    """The parts of the case's model under its rules."""
    op = case.settings.text("generate_op") or "KLinearMarlin"
    return _parts(case.model, case.version.parts, op, case.settings.text("gguf_type"))


@lru_cache(maxsize=64)
def _parts(model: Model, at: tuple[int, ...], op: str, gguf: str | None) -> Parts:
    count = len(model.architecture.layers)
    layers, tail, table = [0] * count, 0, 0
    for tensor in plain_tensors(model):
        if tensor.role in _NOT_LOADED or tensor.role in EXPERT_ROLES or tensor.part not in {Part.WEIGHT, Part.BIAS}:
            continue
        if tensor.role in {Role.EMBEDDING, Role.POSITION}:
            table += BF16.nbytes(tensor.elements)
        elif tensor.layer is None:
            tail += _gpu_bytes(tensor, at, op)
        else:
            layers[tensor.layer] += _gpu_bytes(tensor, at, op)
    if model.architecture.tied_embeddings:
        tail += (OPS[op] if classic_rules(at).head_quantised else BF16).nbytes(table // BF16.block_bytes)
    return Parts(layers=tuple(layers), tail=tail, experts=expert_bytes(model, gguf), table=table)


def _gpu_bytes(tensor: Tensor, at: tuple[int, ...], op: str) -> int:
    rule = classic_rules(at)
    if tensor.role is Role.KV_B:
        return BF16.nbytes(tensor.elements) * rule.latent_copies
    repacked = (tensor.role in LINEAR_ROLES and (rule.attention_quantised or tensor.role not in _ATTENTION)) or (
        tensor.role is Role.HEAD and rule.head_quantised and op == "KLinearMarlin"
    )
    fmt = OPS[op] if repacked and tensor.part is Part.WEIGHT and len(tensor.shape) > 1 else BF16
    return fmt.nbytes(tensor.elements)


def reads_experts(model: Model) -> bool:
    """Whether the stored experts are of a type that a GGUF file can hold."""
    return all(tensor.format.name in PLAIN | GGUF_BLOCKS for tensor in model.checkpoint.tensors if tensor.role in EXPERT_ROLES)


@lru_cache(maxsize=64)
def expert_bytes(model: Model, gguf: str | None) -> tuple[int, ...]:
    """Bytes of each layer's routed experts on the host: as stored, or as ``gguf`` where the file cannot be read or a type is named."""
    count = len(model.architecture.layers)
    own = model.checkpoint.scheme == f"gguf {gguf}"
    word = (None if own else gguf) or (None if reads_experts(model) else UNREADABLE_DEFAULT)
    found = [0] * count
    for tensor in model.checkpoint.tensors if word is None else plain_tensors(model):
        if tensor.role in EXPERT_ROLES and tensor.layer is not None:
            found[tensor.layer] += tensor.nbytes if word is None else _as_type(tensor, word, count)
    return tuple(found)


def _as_type(tensor: Tensor, word: str, layers: int) -> int:
    """Bytes in a GGUF type; the ``_m`` mixtures keep half of the down matrices in six bits, as llama.cpp's quantiser does."""
    if tensor.part is not Part.WEIGHT:
        return 0
    usual, better = _MIXED.get(word, (word, word))
    at, eighth = tensor.layer or 0, layers // 8
    many = at < eighth or at >= 7 * layers // 8 or (at - eighth) % 3 == 2  # noqa: PLR2004 - llama.cpp's use_more_bits
    name = better if tensor.role is Role.EXPERT_DOWN and many else usual
    plain = {"f16": "float16", "bf16": "bfloat16"}.get(name, name)
    return GGML_BY_NAME[plain].nbytes(tensor.elements)


def spans(case: Case) -> tuple[Span, ...]:
    """The run of layers of each device: as ``transfer_map`` says, else even, as the published YAML files are."""
    count, devices = len(case.model.architecture.layers), max(1, len(case.devices))
    said = case.settings.text("transfer_map")
    if said is not None:
        firsts = [min(int(word), count) for word in said.split(",")][: devices - 1]
    else:
        firsts = [index * count // devices for index in range(1, devices)]
    bounds = [0, *firsts, *[count] * (devices - len(firsts))]
    return tuple(pairwise(bounds))


def shares(case: Case) -> tuple[Share, ...]:
    """What lies on each GPU; the head follows the last layer."""
    found, split = parts(case), spans(case)
    count = len(found.layers)
    last = next(index for index, (_, end) in enumerate(split) if end == count)
    return tuple(
        Share(
            device=device.id,
            first=first,
            end=end,
            tail=index == last,
            nbytes=sum(found.layers[first:end]) + (found.tail if index == last else 0),
        )
        for index, (device, (first, end)) in enumerate(zip(case.devices, split, strict=False))
    )
