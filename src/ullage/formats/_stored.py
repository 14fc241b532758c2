"""The checkpoint as its files' headers state it: exact tensors, with roles and layers found by their names."""

from collections import Counter
from collections.abc import Iterable

from ullage.catalog.tensor_formats import stored_format
from ullage.domain.architecture import ExpertFeedForward
from ullage.domain.checkpoint import EXPERT_ROLES, Part, Role, Tensor
from ullage.domain.family import Blueprint
from ullage.domain.weight_format import Header, StoredTensor
from ullage.errors import MalformedFileError
from ullage.formats import _gguf_names as gguf_names
from ullage.formats._patterns import bare_name
from ullage.formats._roles import Known, known_by, numbered_to_any, place, weight_and_part
from ullage.formats._whole import check_layers, check_whole
from ullage.frozen import replace

_NAMED_IN_A_NOTE = 5
_BUFFERS = (".rotary_emb.inv_freq", ".position_ids", ".masked_bias")  # old files keep them, nobody loads them


def read_tensors(blueprint: Blueprint, headers: tuple[Header, ...]) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
    """All tensors of all files, and notes on what does not agree with the configuration.

    Experts alike are taken together, so that a big model stays small.
    """
    stored = tuple(tensor for header in headers for tensor in header.tensors)
    _check_names(stored)
    layers = len(blueprint.architecture.layers)
    if any(gguf_names.is_gguf(header) for header in headers):
        tensors, unknown = gguf_names.tensors_of(stored, decoder_layers=layers)
        check_layers(blueprint, tensors)
        return tensors, tuple(_listed("with unknown names", unknown))
    return _of_transformers(blueprint, stored)


def _check_names(stored: tuple[StoredTensor, ...]) -> None:
    counts = Counter(tensor.name for tensor in stored)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise MalformedFileError(f"the tensor {twice[:120]!r} stands in two of the files")


def _of_transformers(blueprint: Blueprint, stored: tuple[StoredTensor, ...]) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
    known = known_by(blueprint)
    tensors, unknown, unused = [], [], []
    alike = Counter((numbered_to_any(entry.name, known.numbers), entry.dtype, entry.shape) for entry in stored)
    for (name, dtype, shape), count in alike.items():
        found = place(name, known)
        if name.endswith(_BUFFERS) or (found and found[0] is Role.HEAD and blueprint.architecture.tied_embeddings):
            unused.append(name)
            continue
        if found is None:
            unknown.append(name)
        role, layer = found or (Role.OTHER, None)
        meant = known.tensors.get(bare_name(name))
        part = meant.part if meant is not None else weight_and_part(name)[1]
        tensor = Tensor(name=name, role=role, layer=layer, shape=shape, format=stored_format(dtype), copies=count, part=part)
        tensors.append(_unstacked(tensor, blueprint))
    seen = {weight_and_part(bare_name(name))[0] for name, _, _ in alike}
    missing = tuple(tensor for tensor in blueprint.tensors if tensor.role is not Role.MTP and not _is_there(tensor, seen))
    check_whole(blueprint, missing, sum(entry.nbytes for entry in stored if not _is_meant(entry.name, known)))
    notes = (
        *_listed("with unknown names", unknown),
        *_listed("that are stored but never loaded", unused),
        *_listed("of the configuration that no file has under this name", (tensor.name for tensor in missing)),
    )
    return tuple(tensors), notes


def _is_there(tensor: Tensor, seen: set[str]) -> bool:
    return weight_and_part(bare_name(tensor.name))[0] in seen


def _is_meant(name: str, known: Known) -> bool:
    return weight_and_part(bare_name(numbered_to_any(name, known.numbers)))[0] in known.places


def _listed(what: str, names: Iterable[str]) -> tuple[str, ...]:
    every = sorted(names)
    if not every:
        return ()
    more = f" and {len(every) - _NAMED_IN_A_NOTE} more" if len(every) > _NAMED_IN_A_NOTE else ""
    return (f"{len(every)} tensors {what}: {', '.join(every[:_NAMED_IN_A_NOTE])}{more}",)


def _unstacked(tensor: Tensor, blueprint: Blueprint) -> Tensor:
    """Experts stacked in one tensor become one expert's share and a number of copies."""
    experts = _experts(blueprint, tensor.layer) if tensor.role in EXPERT_ROLES and "{expert}" not in tensor.name else 0
    return replace(tensor, shape=tensor.shape[1:], copies=experts) if tensor.shape[:1] == (experts,) else tensor


def _experts(blueprint: Blueprint, layer: int | None) -> int:
    layers = blueprint.architecture.layers
    forward = layers[layer].feed_forward if layer is not None and layer < len(layers) else None
    return forward.experts if isinstance(forward, ExpertFeedForward) else 0


def dominant_format(tensors: Iterable[Tensor]) -> str:
    """The name of the format that most bytes of the weights have."""
    nbytes: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.part is Part.WEIGHT and tensor.role is not Role.EMBEDDING:
            nbytes[tensor.format.name] += tensor.nbytes
    return nbytes.most_common(1)[0][0] if nbytes else "empty"
