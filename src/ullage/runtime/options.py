"""The command line of the runtime: settings that are typed, or what is wrong with them."""

from pathlib import Path

from ullage.domain.case import Settings
from ullage.domain.engine import checked_port
from ullage.engines.runtime.read_command import read_words
from ullage.engines.runtime.settings import SETTINGS, flag_of, split_of
from ullage.engines.runtime.sizing import MAX_SEQUENCES, PAGE_TOKENS
from ullage.errors import InputError
from ullage.frozen import dataclass

KEY_VARIABLE = "ULLAGE_API_KEY"
_FILES = (".gguf", ".safetensors")
_HELP = frozenset({"-h", "--help"})
_LOOPBACK, _PORT = "127.0.0.1", 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for; None where the runtime is to choose."""

    model: str
    devices: tuple[str, ...] = ()
    split: tuple[int, ...] = ()  # layers on each device
    host_experts: int | None = None  # that stand on a device at a time, when experts lie on the host
    dtype: str = "auto"
    weights: str = "native"
    kv_dtype: str = "native"
    memory_bytes: int | None = None
    cache_bytes: int | None = None
    max_len: int | None = None
    max_sequences: int = MAX_SEQUENCES
    chunk_tokens: int | None = None
    page_tokens: int = PAGE_TOKENS
    prefix_cache: bool = True
    swap_bytes: int = 0
    dual_chunk: str | None = None
    host: str = _LOOPBACK
    port: int = _PORT
    served_name: str = ""
    key_file: str = ""


def asks_for_help(words: tuple[str, ...]) -> bool:
    """Whether the usage is wanted."""
    return bool(_HELP & set(words))


def usage() -> str:
    """Every setting with its meaning and default."""
    flags = [(flag_of(name), setting) for name, setting in SETTINGS.items()]
    width = max(len(flag) for flag, _ in flags)
    lines = [f"  {flag:<{width}}  {setting.meaning} (default: {setting.default})" for flag, setting in flags]
    return "\n".join(
        (
            "python -m ullage.runtime MODEL [--setting VALUE ...]",
            "MODEL is a directory with safetensors files, or a .gguf file. An API key may also stand in the environment",
            f"as {KEY_VARIABLE}.",
            "",
            *lines,
        )
    )


def read(words: tuple[str, ...]) -> tuple[Options, tuple[str, ...]]:
    """The options, and remarks on how they were written. Raises InputError saying everything that is wrong."""
    found = read_words(words)
    wrong = [finding.text for finding in found.findings if finding.wrong]
    if wrong or found.model is None:
        raise InputError("; ".join(wrong))
    remarks = tuple(finding.text for finding in found.findings if not finding.wrong)
    return _typed(found.model, found.settings), remarks


def _own_name(model: str) -> str:
    """What a file or folder is called itself, wherever it lies: requests and answers carry it."""
    place = Path(model).expanduser().absolute()
    return (place.stem if place.suffix.lower() in _FILES else place.name) or model


def _typed(model: str, said: Settings) -> Options:
    chunk = said.get("chunk")
    return Options(
        model=model,
        devices=tuple((said.text("device") or "").split(",")) if said.text("device") else (),
        split=split_of(layers) if (layers := said.text("split")) else (),
        host_experts=said.integer("host_experts"),
        dtype=said.text("dtype") or "auto",
        weights=said.text("weights") or "native",
        kv_dtype=said.text("kv_dtype") or "native",
        memory_bytes=said.integer("memory"),
        cache_bytes=said.integer("cache"),
        max_len=said.integer("max_len"),
        max_sequences=said.integer("max_seqs") or MAX_SEQUENCES,
        chunk_tokens=chunk if isinstance(chunk, int) else None,
        page_tokens=said.integer("page_tokens") or PAGE_TOKENS,
        prefix_cache=said.get("prefix_cache") is not False,
        swap_bytes=said.integer("swap") or 0,
        dual_chunk=said.text("dual_chunk"),
        host=said.text("host") or _LOOPBACK,
        port=checked_port(said.integer("port") or _PORT),
        served_name=said.text("served_model_name") or _own_name(model),
        key_file=said.text("api_key_file") or "",
    )
