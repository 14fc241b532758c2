"""Models on the Hugging Face Hub: small documents whole, weight files by byte ranges of their headers. No weights are downloaded."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from ullage.errors import InputError, WorldError
from ullage.ports import ModelFolder, WeightFile
from ullage.world._names import SMALL_DOCUMENTS, WEIGHT_SUFFIXES, one_model, siblings

_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?(?::(?P<variant>[\w.-]+))?")
_TIMEOUT_S = 30.0
_SHORT_TIMEOUT_S = 5.0


def is_id(word: str) -> bool:
    """Whether this could be the id of a model on the Hub."""
    return _ID.fullmatch(word.removeprefix("hf:")) is not None


@contextmanager
def _reaching(what: str) -> Iterator[None]:
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise WorldError(f"{what} is gated: accept its terms on the Hub and run `hf auth login`, or give a config.json") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise WorldError(f"{what} is not on the Hub, or needs a login (`hf auth login`): check the spelling of the id") from error
    except Exception as error:  # whatever the HTTP library of the day raises
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WorldError(f"{what} could not be reached: {cause}. Give a local directory or a config.json instead") from error


def _fetch(model_id: str, revision: str, name: str, nbytes: int) -> bytes:
    """The first ``nbytes`` bytes of a file; a server that ignores the range is not read further."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    headers = {**build_hf_headers(), "Range": f"bytes=0-{nbytes - 1}", "Accept-Encoding": "identity"}
    url = hf_hub_url(model_id, name, revision=revision)
    data = bytearray()
    with (
        _reaching(f"{model_id}/{name}"),
        get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT_S, follow_redirects=True) as response,
    ):
        response.raise_for_status()
        for piece in response.iter_bytes():
            data += piece
            if len(data) > nbytes:  # an answer of the right length is read to its end, which keeps the connection for the next file
                break
    return bytes(data[:nbytes])


def _chosen(names: tuple[str, ...], variant: str | None, where: str) -> tuple[str, ...]:
    """The weight files meant: those of the GGUF variant, or the one model that the repository holds."""
    weights = tuple(name for name in names if name.endswith(WEIGHT_SUFFIXES) and "/" not in name)
    if variant is None:
        return one_model(weights, where, names)
    matching = [name for name in names if name.endswith(".gguf") and variant.lower() in re.split(r"[-./]", name.lower())]
    if not matching:
        known = sorted(name for name in names if name.endswith(".gguf"))
        raise InputError(f"{where} has no GGUF file of {variant}; it has {', '.join(known[:12]) or 'no GGUF file'}")
    return siblings(min(matching), names)


def documents(word: str, wanted: tuple[str, ...], *, offline: bool) -> dict[str, bytes]:
    """Those of the ``wanted`` files that the local cache or the Hub has, kept in the cache; none where the Hub does not answer."""
    from huggingface_hub import HfApi, hf_hub_download

    match = _ID.fullmatch(word.removeprefix("hf:"))
    if match is None:
        return {}
    names: tuple[str, ...] = wanted
    if not offline:
        try:  # asked once: a download that cannot reach the Hub tries again for half a minute, for each file
            listed = HfApi().model_info(match["id"], revision=match["revision"], timeout=_SHORT_TIMEOUT_S).siblings or ()
            names = tuple({file.rfilename for file in listed}.intersection(wanted))
        except Exception:  # noqa: BLE001 - whatever the HTTP library of the day raises; what the cache holds is left
            offline = True
    found: dict[str, bytes] = {}
    for name in names:
        with suppress(Exception):  # not there, or not reached after all
            found[name] = Path(hf_hub_download(match["id"], name, revision=match["revision"], local_files_only=offline)).read_bytes()
    return found


def open_model(word: str) -> ModelFolder:
    """The model of an id such as ``Qwen/Qwen3-8B``, ``id@revision`` or ``hf:org/repo:Q4_K_M``. Raises InputError and WorldError."""
    match = _ID.fullmatch(word.removeprefix("hf:"))
    if match is None:
        raise InputError(f"{word!r} is no Hub id: write organisation/name, organisation/name@revision or hf:organisation/name:Q4_K_M")
    from huggingface_hub import HfApi

    model_id = match["id"]
    with _reaching(model_id):
        found = HfApi().model_info(model_id, revision=match["revision"], files_metadata=True, timeout=_TIMEOUT_S)
    revision = found.sha or match["revision"] or "main"
    sizes = {file.rfilename: int(file.size or 0) for file in found.siblings or ()}
    weights = _chosen(tuple(sizes), match["variant"], model_id)
    documents = [name for name in SMALL_DOCUMENTS if name in sizes]
    return ModelFolder(
        name=model_id,
        source=f"{model_id}@{revision[:12]}",
        documents={name: _fetch(model_id, revision, name, sizes[name]) for name in documents if sizes[name]},
        weights=tuple(WeightFile(name, sizes[name], partial(_fetch, model_id, revision, name)) for name in weights),
    )
