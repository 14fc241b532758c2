"""Bytes of a model's weights where they stay, to the byte: the same forms that the runtime puts them in."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from math import prod

from ullage.domain.architecture import ExpertFeedForward, FullAttention, Layer, SlidingAttention
from ullage.domain.case import Case, Model
from ullage.domain.checkpoint import EXPERT_ROLES, LINEAR_ROLES, Part, Role, Tensor
from ullage.engines.runtime.families import FAMILIES, Family
from ullage.engines.runtime.residence import ELEMENT_BYTES
from ullage.engines.runtime.weight_forms import head_word, runs, runs_bytes, scratch_bytes, shares_table
from ullage.frozen import dataclass, replace

_TOGETHER = (  # matrices that become one
    (Role.Q, Role.K, Role.V),
    (Role.GATE, Role.UP),
    (Role.EXPERT_GATE, Role.EXPERT_UP),
    (Role.SHARED_GATE, Role.SHARED_UP),
)
# Kept in the dtype whatever is asked for: small, and what decides; or (KV_B) the two halves that queries and outputs go through by heads.
_IN_DTYPE = frozenset({Role.ROUTER, Role.SHARED_ROUTER, Role.KV_B})
_NOT_LOADED = frozenset({Role.MTP, Role.VISION, Role.PROJECTOR, Role.POSITION, Role.OTHER})
_CONVERTED = frozenset(LINEAR_ROLES)
_FLOAT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """In what weights are kept and computed with."""

    asked: str
    dtype: str
    device: str
    spread: bool = False  # over several devices: the table on the first, the head on the last

    @property
    def element(self) -> int:
        """Bytes of a number in the dtype."""
        return ELEMENT_BYTES[self.dtype]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """Bytes by part. ``table``: the token table, in the file's own pages where ``mapped``. ``scratches``: of unpacking one matrix."""

    table: int
    mapped: bool
    head: int
    layers: tuple[int, ...]
    norm: int
    scratches: tuple[int, ...]  # of each layer
    head_scratch: int
    first: int  # bytes of the head in the dtype, which is converted by itself before all others
    largest: int  # bytes of the largest matrix of the layers in the dtype
    experts: tuple[int, ...]  # of the layers' bytes those of routed experts, which may lie on the host
    expert: tuple[int, ...]  # one routed expert of each layer

    @property
    def scratch(self) -> int:
        """Of a device with all layers."""
        return max(self.head_scratch, *self.scratches, 0)

    @property
    def nbytes(self) -> int:
        """All that counts as weights."""
        return self.table + self.head + sum(self.layers) + self.norm


def how(case: Case) -> How:
    """What a resolved case keeps its weights in."""
    device = (case.settings.text("device") or "cpu").partition(":")[0]
    asked, dtype = case.settings.text("weights") or "native", case.settings.text("dtype") or "bfloat16"
    return How(asked=asked, dtype=dtype, device=device, spread=case.parallel.devices > 1)


@lru_cache(maxsize=64)
def resident(model: Model, kept: How) -> Resident:
    """Every byte of the model's weights in one way of keeping them."""
    architecture = model.architecture
    family = FAMILIES.get(architecture.model_type, Family())
    by_layer: dict[int | None, list[Tensor]] = defaultdict(list)
    for stored in model.checkpoint.tensors:
        if stored.role not in _NOT_LOADED:
            by_layer[stored.layer].append(_apart(stored, architecture.hidden_size))
    table, head, norm = _ends(model, by_layer[None], kept, family)
    layers = tuple(_layer(layer, by_layer[index], kept, family) for index, layer in enumerate(architecture.layers))
    experts = tuple(_experts(by_layer[index], kept) for index in range(len(layers)))
    matrices = [tensor for layer, tensors in by_layer.items() if layer is not None for tensor in _of(tensors, *_CONVERTED)]
    return Resident(
        table=table,
        mapped=kept.device == "cpu",
        head=head,
        layers=layers,
        norm=norm,
        scratches=tuple(_most_scratch(by_layer[index], kept) for index in range(len(layers))),
        head_scratch=_most_scratch(_head_rows(model, by_layer[None]), replace(kept, asked=head_word(kept.asked))),
        first=sum(tensor.elements for tensor in _head_rows(model, by_layer[None])) * kept.element,
        largest=max((prod(tensor.shape) for tensor in matrices), default=0) * kept.element,
        experts=experts,
        expert=tuple(
            nbytes // layer.feed_forward.experts if isinstance(layer.feed_forward, ExpertFeedForward) else 0
            for nbytes, layer in zip(experts, architecture.layers, strict=True)
        ),
    )


def _apart(tensor: Tensor, hidden: int) -> Tensor:
    """The experts of a layer as so many (out, in) matrices; some files have them in one tensor, some of these the other way round."""
    if tensor.role not in EXPERT_ROLES or tensor.part is not Part.WEIGHT:
        return tensor
    *stacked, rows, width = tensor.shape
    side = rows if tensor.role is Role.EXPERT_DOWN else width
    return replace(tensor, shape=(rows, width) if side == hidden else (width, rows), copies=prod(stacked) * tensor.copies)


def _ends(model: Model, outside: list[Tensor], kept: How, family: Family) -> tuple[int, int, int]:
    """Bytes of the table, of the head, and of the norm before it. A tied head of another form is a matrix of its own."""
    table = sum(tensor.nbytes if kept.device == "cpu" else tensor.elements * kept.element for tensor in _of(outside, Role.EMBEDDING))
    biases = sum(tensor.elements for tensor in outside if tensor.role is Role.HEAD and tensor.part is Part.BIAS) * kept.element
    norm = sum(tensor.elements for tensor in outside if tensor.role is Role.NORM) * (_FLOAT if family.float_norms else kept.element)
    ends = replace(kept, asked=head_word(kept.asked))
    tied = _of(outside, Role.EMBEDDING) if model.architecture.tied_embeddings else []
    if not kept.spread and any(
        shares_table(kept.asked, one.format.name, one.shape[-1], dtype=kept.dtype, device=kept.device) for one in tied
    ):
        table = 0  # counted as the head
    return table, sum(_matrix(part, ends) for part in _matrices(_head_rows(model, outside))) + biases, norm


def _head_rows(model: Model, outside: list[Tensor]) -> list[Tensor]:
    """The head's weights, which are the table's where there are no others."""
    head = [] if model.architecture.tied_embeddings else _of(outside, Role.HEAD)
    return head or _of(outside, Role.EMBEDDING)


def _most_scratch(tensors: list[Tensor], kept: How) -> int:
    """What the matrices take one after another while each is unpacked."""
    return max((_scratch(parts, kept) for parts in _matrices(tensors)), default=0)


def _experts(tensors: list[Tensor], kept: How) -> int:
    """All routed experts of a layer with their biases."""
    own = [tensor for tensor in tensors if tensor.role in EXPERT_ROLES]
    biases = sum(tensor.elements for tensor in own if tensor.part is Part.BIAS) * kept.element
    return sum(_matrix(parts, kept) for parts in _matrices(own)) + biases


def _of(tensors: Iterable[Tensor], *roles: Role) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor.role in roles and tensor.part is Part.WEIGHT]


def _matrices(tensors: list[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """The weights of linear layers, those together that become one matrix."""
    weights = [tensor for tensor in tensors if tensor.part is Part.WEIGHT and tensor.role is not Role.NORM and len(tensor.shape) > 1]
    for roles in _TOGETHER:
        found = tuple(tensor for role in roles for tensor in weights if tensor.role is role)
        if found:
            yield found
    alone = {role for roles in _TOGETHER for role in roles}
    yield from ((tensor,) for tensor in weights if tensor.role not in alone)


def _matrix(parts: tuple[Tensor, ...], kept: How) -> int:
    if parts[0].role in _IN_DTYPE:
        return sum(part.elements for part in parts) * kept.element
    width = parts[0].shape[-1]
    forms = runs(kept.asked, [(part.format.name, _rows(part)) for part in parts], width, dtype=kept.dtype, device=kept.device)
    return runs_bytes(forms, width, kept.dtype) * parts[0].copies


def _rows(tensor: Tensor) -> int:
    return prod(tensor.shape[:-1])


def _scratch(parts: tuple[Tensor, ...], kept: How) -> int:
    if parts[0].role in _IN_DTYPE:
        return 0
    width = parts[0].shape[-1]
    forms = runs(kept.asked, [(part.format.name, _rows(part)) for part in parts], width, dtype=kept.dtype, device=kept.device)
    return max(scratch_bytes(run.form, run.out_features, width, kept.dtype) for run in forms)


def _layer(layer: Layer, tensors: list[Tensor], kept: How, family: Family) -> int:
    matrices = sum(_matrix(parts, kept) for parts in _matrices(tensors))
    small = 0
    for tensor in tensors:
        if tensor.role is Role.NORM:
            small += _norm(layer, tensor, kept, family)
        elif tensor.part is Part.BIAS or len(tensor.shape) < 2:  # noqa: PLR2004 - vectors
            small += tensor.elements * kept.element
    if family.corrected and isinstance(layer.feed_forward, ExpertFeedForward):
        small += layer.feed_forward.experts * _FLOAT
    return matrices + small


def _norm(layer: Layer, tensor: Tensor, kept: How, family: Family) -> int:
    """Norms of heads are kept once for each head, so that queries and keys are done at once."""
    word = tensor.name.rsplit(".", 2)[-2]
    for mixer in layer.mixers:
        if isinstance(mixer, FullAttention | SlidingAttention) and tensor.shape == (mixer.key_dim,):
            if word.endswith("q_norm"):
                return mixer.query_heads * tensor.elements * kept.element
            if word.endswith("k_norm"):
                return mixer.kv_heads * tensor.elements * kept.element
    return tensor.elements * (_FLOAT if family.float_norms else kept.element)
