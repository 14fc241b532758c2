"""GGUF files: every tensor under the name that Transformers' checkpoints have for it, in Transformers' order of rows."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from ullage import formats, wire
from ullage.catalog.tensor_formats import F32
from ullage.domain.hyperparameters import Json
from ullage.domain.weight_format import Header
from ullage.errors import MalformedFileError, UnsupportedModelError
from ullage.formats.gguf import split
from ullage.frozen import dataclass
from ullage.runtime.loading.gguf_names import Names, names_of
from ullage.runtime.loading.gguf_numbers import numbers
from ullage.runtime.loading.mapped import WeightMap, map_gguf
from ullage.runtime.loading.stored import Assembled, Lying, Stored
from ullage.runtime.loading.views import Place, lying

_BLOCK = re.compile(r"blk\.(?P<layer>\d{1,4})\.(?P<stem>[\w.]+?)(?:\.(?P<leaf>weight|bias))?")
_EXPERTS = re.compile(r"ffn_(?P<word>gate|up|down|gate_up)_exps")
_OLD_EXPERT = re.compile(r"ffn_(?P<word>gate|up|down)\.(?P<expert>\d+)")
_FOR_POSITIONS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
Makers = dict[str, Callable[[], Stored]]

_BIASED = {"attention_bias": "blk.0.attn_output.bias", "mlp_bias": "blk.0.ffn_down.bias"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """What a GGUF file and its splits hold."""

    documents: Mapping[str, bytes]
    metadata: Mapping[str, Json]
    entries: Mapping[str, Callable[[], Stored]]
    files: tuple[WeightMap, ...]


def open_files(paths: tuple[Path, ...]) -> Opened:
    """The mapped files, in the order of their splits. Raises MalformedFileError and UnsupportedModelError."""
    files = tuple(map_gguf(path) for path in paths)
    _check_splits(files)
    metadata = dict(files[0].header.metadata)
    places = {
        tensor.name: Place(file=file, tensor=tensor, begin=begin)
        for file in files
        for tensor, begin in zip(file.header.tensors, file.begins, strict=True)
    }
    if len(places) < sum(len(file.header.tensors) for file in files):
        raise MalformedFileError(f"a tensor stands in two of the {len(files)} files that {paths[0].name} begins")
    every = Header(tensors=tuple(place.tensor for place in places.values()), metadata=files[0].header.metadata)
    config = formats.gguf_config(every)
    factors = {name: lying(places[name]).dense(torch.float32).tolist() for name in _FOR_POSITIONS if name in places}
    config |= numbers(metadata, config, factors) | _biases(places, config)
    documents = {"config.json": wire.dumps(config).encode()}
    return Opened(documents=documents, metadata=metadata, entries=_entries(places, config, metadata), files=files)


def _biases(places: Mapping[str, Place], config: Mapping[str, Json]) -> dict[str, Json]:
    """Whether a Llama has biases: GGUF says so by their tensors alone."""
    if config.get("model_type") not in {"llama", "mistral"}:
        return {}
    return {key: True for key, stored in _BIASED.items() if stored in places}


def _check_splits(files: tuple[WeightMap, ...]) -> None:
    """Every file is the part that its name says. Raises MalformedFileError."""
    for number, file in enumerate(files):
        said = split(file.header)
        if (said or (0, 1)) != (number, len(files)):
            raise MalformedFileError(
                f"{file.path.name} says that it is {_part(said)}, but its name and those beside it {_part((number, len(files)))}"
            )


def _part(said: tuple[int, int] | None) -> str:
    return f"part {said[0] + 1} of {said[1]}" if said is not None else "whole"


def _entries(places: Mapping[str, Place], config: Mapping[str, Json], metadata: Mapping[str, Json]) -> Makers:
    names = names_of(str(metadata["general.architecture"]), str(config["model_type"]))
    layers = config["num_hidden_layers"]
    found: Makers = {}
    for stored, place in places.items():
        if stored in names.outside:
            found[names.outside[stored]] = _maker(place, shift=names.shift(stored))
            continue
        match = _BLOCK.fullmatch(stored)
        if match is not None and isinstance(layers, int) and int(match["layer"]) >= layers:
            continue  # a draft layer
        if stored not in _FOR_POSITIONS:
            if match is None:
                raise _unknown(stored, names)
            found |= _in_block(place, match, names, config, places)
    return found


def _unknown(stored: str, names: Names) -> UnsupportedModelError:
    return UnsupportedModelError(f"the tensor {stored[:120]!r} has no place in a {names.architecture} model that the runtime knows")


def _maker(place: Place, *, order: Callable[[], torch.Tensor] | None = None, shift: float = 0.0) -> Callable[[], Stored]:
    return lambda: lying(place, order=order() if order is not None else None, shift=shift)


def _in_block(place: Place, match: re.Match[str], names: Names, config: Mapping[str, Json], places: Mapping[str, Place]) -> Makers:
    at, stem, leaf = f"model.layers.{match['layer']}", match["stem"], match["leaf"] or "weight"
    stacked, old = _EXPERTS.fullmatch(stem), _OLD_EXPERT.fullmatch(stem)
    if stacked is not None:
        return _experts(place, f"{at}.{names.experts}", stacked["word"], leaf, names)
    if old is not None:
        return {f"{at}.{names.experts}.{old['expert']}.{names.words[old['word']]}.{leaf}": _maker(place)}
    if stem in ("attn_k_b", "attn_v_b"):
        return _halves_of_kv_b(match["layer"], places) if stem == "attn_k_b" else {}
    if stem == "ffn_gate_inp_shexp":  # one row, which some writers leave without its first dimension
        return {f"{at}.{names.stems[stem]}.{leaf}": lambda: lying(place, shape=(1, place.shape[-1]))}
    if stem not in names.stems:
        raise _unknown(place.tensor.name, names)
    name = names.stems[stem]
    whole = name.endswith(("sinks", "e_score_correction_bias"))
    heads = config[names.heads_of[stem]] if stem in names.heads_of else None
    order = (lambda: _unpaired(place.shape[0], heads)) if isinstance(heads, int) else None
    return {f"{at}.{name}" if whole else f"{at}.{name}.{leaf}": _maker(place, order=order, shift=names.shift(place.tensor.name))}


def _unpaired(rows: int, heads: int) -> torch.Tensor:
    """llama.cpp rotates neighbouring rows, Transformers the two halves of a head: the file's row for each of ours.

    Raises MalformedFileError where heads do not divide the rows.
    """
    if heads < 1 or rows % (2 * heads):
        raise MalformedFileError(f"{rows} rows of queries or keys are no {heads} heads of an even width")
    return torch.arange(rows).view(heads, -1, 2).transpose(1, 2).reshape(-1)


def _experts(place: Place, at: str, word: str, leaf: str, names: Names) -> Makers:
    """Every expert's part; gate and up in one are the first and the second half of its rows."""
    if word != "gate_up":
        return {f"{at}.{expert}.{names.words[word]}.{leaf}": _maker_of_part(place, expert) for expert in range(place.shape[0])}
    return {
        f"{at}.{expert}.{names.words[half]}.{leaf}": _maker_of_half(place, expert, index)
        for expert in range(place.shape[0])
        for index, half in enumerate(("gate", "up"))
    }


def _maker_of_part(place: Place, expert: int) -> Callable[[], Stored]:
    return lambda: lying(place.part(expert))


def _maker_of_half(place: Place, expert: int, index: int) -> Callable[[], Stored]:
    def make() -> Stored:
        both = lying(place.part(expert))
        rows = both.shape[0] // 2
        values = both.values[index * rows : (index + 1) * rows]
        return Lying(shape=(rows, *both.shape[1:]), format=both.format, values=values, spans=both.spans)

    return make


def _halves_of_kv_b(layer: str, places: Mapping[str, Place]) -> Makers:
    """kv_b from its two halves: keys (heads, latent, nope), which are turned, and values (heads, value, latent)."""
    keys, values = places[f"blk.{layer}.attn_k_b.weight"], places.get(f"blk.{layer}.attn_v_b.weight")
    if values is None or keys.shape[:2] != (values.shape[0], values.shape[-1]):
        raise MalformedFileError(f"blk.{layer}.attn_k_b.weight has no attn_v_b beside it that fits its shape {list(keys.shape)}")
    heads, latent, nope = keys.shape
    each = nope + values.shape[1]

    def head(index: int) -> torch.Tensor:
        above, below = lying(keys.part(index)).dense(torch.float32), lying(values.part(index)).dense(torch.float32)
        return torch.cat((above.t(), below))

    def rows(begin: int, end: int) -> torch.Tensor:
        if begin >= end:
            return torch.empty(0, latent)
        first, last = begin // each, -(-end // each)
        return torch.cat([head(index) for index in range(first, last)])[begin - first * each : end - first * each]

    def make() -> Stored:
        return Assembled(shape=(heads * each, latent), format=F32, spans=(keys.whole, values.whole), rows=rows)

    return {f"model.layers.{layer}.self_attn.kv_b_proj.weight": make}
