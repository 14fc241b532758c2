"""The model a person means: a bundled name, a path, or a Hub id; read from its configuration and its headers, never its weights."""

from typing import NamedTuple

from ullage import architectures, formats, wire
from ullage.catalog import models as catalogue
from ullage.domain.case import Model
from ullage.domain.checkpoint import Checkpoint
from ullage.domain.family import Blueprint
from ullage.domain.hyperparameters import Hyperparameters, Json
from ullage.domain.weight_format import Header, NeedMore
from ullage.errors import InputError, MalformedFileError, WorldError
from ullage.ports import ModelFiles, ModelFolder, WeightFile

_FIRST_BYTES = 1 << 18  # of each file; a longer header is read to its end
_PATH_STARTS = (".", "/", "~")
_PATH_ENDS = (".json", ".gguf", ".safetensors", "/")
_INDEX = "model.safetensors.index.json"
_SCHEME_DOCUMENTS = ("quantization_config.json", "quantize_config.json", "quant_config.json", "hf_quant_config.json")


class Loaded(NamedTuple):
    """A model, and what was noticed while its files were read."""

    model: Model
    notes: tuple[str, ...] = ()


def read_model(word: str, files: ModelFiles, *, quantisation: str | None = None) -> Loaded:
    """The model, with ``quantisation`` applied by rule when a scheme was named. Raises every error of the tree."""
    if not word.strip():
        raise InputError("the model is an empty word: give a bundled name (`ullage models`), a Hub id or a path")
    folder = _find(word.strip(), files)
    if any(weight.name.endswith(".gguf") for weight in folder.weights):
        return _from_gguf(folder, quantisation)
    if "config.json" not in folder.documents:
        raise InputError(f"{folder.source} has no config.json beside its weights: put the model's config.json there, or give a .gguf file")
    config = Hyperparameters(_object(folder, "config.json"))
    blueprint = architectures.read(config)
    stored = formats.quantization_of(config) or _beside(folder)
    if stored is not None and quantisation is not None and folder.weights:
        raise InputError(f"{folder.name} is stored quantised already: drop --quant {quantisation}, or give the unquantised model")
    named = Hyperparameters(formats.named_scheme(quantisation), "--quant") if quantisation is not None else None
    if named is None:
        _check_index(folder)
    if folder.weights and named is None:
        headers = _headers(folder)
        checkpoint, notes = _stored(folder, blueprint, headers, stored)
        return Loaded(_model(folder, config, blueprint, checkpoint), notes)
    plain = formats.checkpoint(blueprint, None)
    published = formats.checkpoint(blueprint, stored)
    if quantisation is None or named is None:
        return Loaded(_model(folder, config, blueprint, published, plain if stored is not None else None))
    asked = formats.checkpoint(blueprint, named)
    if stored is not None and asked.scheme == published.scheme:
        return Loaded(_model(folder, config, blueprint, published, plain))
    instead = (f"planned as {asked.scheme} in place of the published {published.scheme}",) if stored is not None else ()
    return Loaded(_model(folder, config, blueprint, asked, plain, word=quantisation), instead)


def is_path(word: str) -> bool:
    """Whether the word can only mean a place on this disk."""
    return word.startswith(_PATH_STARTS) or word.endswith(_PATH_ENDS)


def _find(word: str, files: ModelFiles) -> ModelFolder:
    if not is_path(word) and not word.startswith("hf:"):
        known = catalogue.lookup(word)
        if known is not None:
            return ModelFolder(known.id, f"bundled configuration of {known.id}", {"config.json": catalogue.configuration(known)}, ())
    found = files.local(word)
    if found is not None:
        return found
    if is_path(word):
        raise WorldError(f"{word} does not exist: check the path, or give a bundled name (`ullage models`) or a Hub id")
    if "/" in word:
        return _remote(word, files)
    near = catalogue.near(word)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise InputError(f"{word!r} is no bundled model and no file here: {hint}Give a Hub id (organisation/name), a folder or a config.json")


def _remote(word: str, files: ModelFiles) -> ModelFolder:
    try:
        return files.remote(word)
    except WorldError as error:
        instead = _as_bundled(word)
        raise WorldError(f"{error}. {instead}") if instead else error from error


def _as_bundled(word: str) -> str:
    """A bundled model whose other form a name such as ``org/Some-7B-AWQ`` means, with the scheme; empty where there is none."""
    parts = word.removeprefix("hf:").partition("/")[2].split("-")
    schemes = {scheme.lower() for scheme in formats.scheme_words()}
    for cut in range(len(parts) - 1, 0, -1):
        rest = [part.lower() for part in parts[cut:]]
        scheme = next((said for said in ("-".join(rest), *rest) if said in schemes), None)
        known = catalogue.lookup("-".join(parts[:cut])) if scheme is not None else None
        if known is not None:
            return f"Its form is known by rule as well: {known.id} with --quant {scheme}"
    return ""


def _object(folder: ModelFolder, name: str) -> dict[str, Json]:
    try:
        value = wire.loads(folder.documents[name])
    except MalformedFileError as error:
        raise MalformedFileError(f"{name} of {folder.source}: {error}") from error
    if not isinstance(value, dict):
        raise MalformedFileError(f"{name} of {folder.source} is no JSON object; give the model's own {name}")
    return value


def _beside(folder: ModelFolder) -> Hyperparameters | None:
    """The scheme that older tools state in a document of its own."""
    for name in _SCHEME_DOCUMENTS:
        if name in folder.documents:
            value = _object(folder, name)
            inner = value.get("quantization")
            if name == "hf_quant_config.json" and isinstance(inner, dict):
                value = {"quant_method": "modelopt", **value}
            elif "quant_method" not in value:
                value = {"quant_method": "awq" if name == "quant_config.json" else "gptq", **value}
            return Hyperparameters(value, name)
    return None


def _header(file: WeightFile, source: str) -> Header:
    """The header of one file, reading as much of its beginning as the header needs and no more."""
    reader = next((known.read for known in formats.weight_formats() if file.name.endswith(known.suffixes)), None)
    if reader is None:
        raise InputError(f"{file.name} is of no known format; .safetensors and .gguf are read")
    wanted = min(_FIRST_BYTES, file.nbytes)
    while True:
        beginning = file.beginning(wanted)
        try:
            found = reader(beginning, file.nbytes)
        except MalformedFileError as error:
            where = source if source.endswith(file.name) else f"{file.name} of {source}"
            raise MalformedFileError(f"{where}: {error}") from error
        if isinstance(found, Header):
            return found
        wanted = _more(file, found, len(beginning), wanted)


def _more(file: WeightFile, needed: NeedMore, had: int, asked: int) -> int:
    if had < asked or needed.nbytes <= had:
        raise WorldError(f"{file.name} gave {had} of the {asked} bytes asked for: it is being written or was cut off; try again")
    return min(max(needed.nbytes, 2 * had), file.nbytes)


def _check_index(folder: ModelFolder) -> None:
    """Raises WorldError naming a shard that the index lists and nobody has, and MalformedFileError for a broken index.

    The index of shards beside one file that is none of them says nothing of that file, nor does any where no weights are.
    """
    if _INDEX not in folder.documents:
        return
    from ullage.formats.safetensors import read_index  # noqa: PLC0415 - only sharded models need it

    try:
        shards = read_index(folder.documents[_INDEX]).shards
    except MalformedFileError as error:
        raise MalformedFileError(f"{_INDEX} of {folder.source}: {error}; fetch it again, or give the config.json alone") from error
    present = {weight.name for weight in folder.weights}
    missing = [name for name in shards if name not in present]
    if missing and (len(present) > 1 or present & set(shards)):
        raise WorldError(
            f"{folder.source} lacks {missing[0]}, which its index lists ({len(missing)} missing): fetch it, or give the config.json alone"
        )


def _headers(folder: ModelFolder) -> tuple[Header, ...]:
    """The headers of all files. Raises MalformedFileError for files without any tensor."""
    headers = tuple(_header(weight, folder.source) for weight in folder.weights)
    if not any(header.tensors for header in headers):
        raise MalformedFileError(f"{folder.weights[0].name} of {folder.source} holds no tensor: it is no model's weights")
    return headers


def _stored(
    folder: ModelFolder, blueprint: Blueprint, headers: tuple[Header, ...], scheme: Hyperparameters | None
) -> tuple[Checkpoint, tuple[str, ...]]:
    try:
        return formats.checkpoint_from_headers(blueprint, headers, scheme)
    except MalformedFileError as error:
        raise MalformedFileError(f"{folder.source}: {error}") from error


def _from_gguf(folder: ModelFolder, quantisation: str | None) -> Loaded:
    if quantisation is not None:
        raise InputError(f"{folder.name} is a GGUF file and quantised as it is: drop --quant {quantisation}")
    headers = _headers(folder)
    config = Hyperparameters(formats.gguf_config(headers[0]))
    blueprint = architectures.read(config)
    checkpoint, notes = _stored(folder, blueprint, headers, None)
    return Loaded(_model(folder, config, blueprint, checkpoint), notes)


def _model(
    folder: ModelFolder,
    config: Hyperparameters,
    blueprint: Blueprint,
    stored: Checkpoint,
    unquantised: Checkpoint | None = None,
    *,
    word: str = "",
) -> Model:
    return Model(
        name=folder.name,
        source=folder.source,
        architecture=blueprint.architecture,
        checkpoint=stored,
        parameters=blueprint.parameters,
        unread=config.unread(),
        class_name=blueprint.architecture.class_name,
        unquantised=unquantised,
        path=folder.path,
        word=word.strip().lower(),
    )
