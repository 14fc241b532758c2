"""The checkpoint as its files' headers state it: exact tensors, with roles and layers found by their names."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from ullage.catalog.tensor_formats import stored_format
from ullage.domain.architecture import ExpertFeedForward
from ullage.domain.checkpoint import EXPERT_ROLES, Part, Role, Tensor
from ullage.domain.family import Blueprint
from ullage.domain.weight_format import Header, StoredTensor
from ullage.errors import MalformedFileError
from ullage.formats import _gguf_names as gguf_names
from ullage.formats._patterns import bare_name
from ullage.formats._roles import EXPERTS, Known, Place, known_by, numbered_to_any, place, weight_and_part

_NAMED_IN_A_NOTE = 5
_BUFFERS = (".rotary_emb.inv_freq", ".position_ids", ".masked_bias")  # old files keep them, nobody loads them


def read_tensors(blueprint: Blueprint, headers: tuple[Header, ...]) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
    """All tensors of all files, experts alike taken together, and notes on what does not agree with the configuration."""
    stored = tuple(tensor for header in headers for tensor in header.tensors)
    _check_names(stored)
    layers = len(blueprint.architecture.layers)
    if any(gguf_names.is_gguf(header) for header in headers):
        tensors, unknown = gguf_names.tensors_of(stored, decoder_layers=layers)
        return grouped(tensors), tuple(_listed("with unknown names", unknown))
    return _of_transformers(blueprint, stored)


def _check_names(stored: tuple[StoredTensor, ...]) -> None:
    counts = Counter(tensor.name for tensor in stored)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise MalformedFileError(f"the tensor {twice[:120]!r} stands in two of the files")


def _of_transformers(blueprint: Blueprint, stored: tuple[StoredTensor, ...]) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
    known = known_by(blueprint)
    tensors, unknown, unused = [], [], []
    for entry in stored:
        found = place(entry.name, known)
        if entry.name.endswith(_BUFFERS) or (found and found[0] is Role.HEAD and blueprint.architecture.tied_embeddings):
            unused.append(entry.name)
            continue
        if found is None:
            unknown.append(entry.name)
        tensors.append(_tensor(entry, found or (Role.OTHER, None), known, blueprint))
    seen = {weight_and_part(bare_name(numbered_to_any(entry.name, known.numbers)))[0] for entry in stored}
    missing = [tensor.name for tensor in blueprint.tensors if tensor.role is not Role.MTP and not _is_there(tensor, seen)]
    notes = (
        *_listed("with unknown names", unknown),
        *_listed("that are stored but never loaded", unused),
        *_listed("of the configuration that no file has under this name", missing),
    )
    return grouped(tensors, known.numbers), notes


def _is_there(tensor: Tensor, seen: set[str]) -> bool:
    return weight_and_part(bare_name(tensor.name))[0] in seen


def _listed(what: str, names: Iterable[str]) -> tuple[str, ...]:
    every = sorted(names)
    if not every:
        return ()
    more = f" and {len(every) - _NAMED_IN_A_NOTE} more" if len(every) > _NAMED_IN_A_NOTE else ""
    return (f"{len(every)} tensors {what}: {', '.join(every[:_NAMED_IN_A_NOTE])}{more}",)


def _tensor(entry: StoredTensor, where: Place, known: Known, blueprint: Blueprint) -> Tensor:
    """Experts stacked in one tensor become one expert's share and a number of copies."""
    role, layer = where
    name = numbered_to_any(entry.name, known.numbers)
    alone = name != entry.name
    meant = known.tensors.get(bare_name(name))
    experts = 0 if alone or role not in EXPERT_ROLES else _experts(blueprint, layer)
    stacked = entry.shape[:1] == (experts,)
    return Tensor(
        name=entry.name,
        role=role,
        layer=layer,
        shape=entry.shape[1:] if stacked else entry.shape,
        format=stored_format(entry.dtype),
        copies=experts if stacked else 1,
        part=meant.part if meant is not None else weight_and_part(entry.name)[1],
    )


def _experts(blueprint: Blueprint, layer: int | None) -> int:
    layers = blueprint.architecture.layers
    forward = layers[layer].feed_forward if layer is not None and layer < len(layers) else None
    return forward.experts if isinstance(forward, ExpertFeedForward) else 0


def grouped(tensors: Iterable[Tensor], numbers: re.Pattern[str] = EXPERTS) -> tuple[Tensor, ...]:
    """The matrices of a layer's experts that are alike, as one with copies, in the order of the first of each."""
    counts: dict[Tensor, int] = {}
    for tensor in tensors:
        alike = replace(tensor, name=numbered_to_any(tensor.name, numbers), copies=1)
        counts[alike] = counts.get(alike, 0) + tensor.copies
    return tuple(replace(tensor, copies=copies) for tensor, copies in counts.items())


def dominant_format(tensors: Iterable[Tensor]) -> str:
    """The name of the format that most bytes of the weights have."""
    nbytes: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.part is Part.WEIGHT and tensor.role is not Role.EMBEDDING:
            nbytes[tensor.format.name] += tensor.nbytes
    return nbytes.most_common(1)[0][0] if nbytes else "empty"
