"""From options to a server that listens: load, size, promise, start."""

import asyncio
import time
from functools import partial
from pathlib import Path

import torch

from ullage import wire
from ullage.domain.hyperparameters import Json
from ullage.engines.runtime.pages import form_of
from ullage.engines.runtime.residence import ELEMENT_BYTES
from ullage.errors import InputError, MalformedFileError
from ullage.frozen import dataclass
from ullage.runtime.engine import Engine, EngineSettings
from ullage.runtime.load import Loaded, load
from ullage.runtime.loading.directory import Documents
from ullage.runtime.options import KEY_VARIABLE, Options
from ullage.runtime.serve.app import App, keys_of, serve
from ullage.runtime.serve.constrain import Grammars
from ullage.runtime.serve.exchange import Service
from ullage.runtime.serve.memory import Memory, resident_bytes
from ullage.runtime.serve.metrics import Metrics
from ullage.runtime.serve.voice import say
from ullage.runtime.serve.worker import Worker
from ullage.runtime.sizing import Sized, dtype_word, size
from ullage.text.language import language_of
from ullage.units import format_bytes
from ullage.world.drivers import host

_FAILED = 4


@dataclass(frozen=True, eq=False, kw_only=True)
class Ready:
    """A model that is loaded and sized."""

    loaded: Loaded
    engine: Engine
    sized: Sized
    promised: dict[str, int]


def run(options: Options, remarks: tuple[str, ...], began: float) -> int:
    """Serve until told to stop; the exit code. Raises what loading raises."""
    for remark in remarks:
        say(f"note: {remark}")
    keys = keys_of(options.key_file, KEY_VARIABLE)
    return asyncio.run(_live(options, _ready(options), keys, began))


def _ready(options: Options) -> Ready:
    device = _device(options)
    word = dtype_word(options.dtype, _config(options.model), device=device.type)
    before = _taken(device)
    loaded = load(options.model, dtype=getattr(torch, word), device=device, weights=options.weights)
    weight_bytes = loaded.decoder.weight_bytes
    say(f"weights: {weight_bytes} bytes ({format_bytes(weight_bytes)}) as {options.weights}, computed in {word} on {device}")
    form = form_of(loaded.groups, page_tokens=options.page_tokens, keys="native", values="native", element=ELEMENT_BYTES[word])
    sized = size(
        options,
        loaded.architecture,
        form,
        element=ELEMENT_BYTES[word],
        free_bytes=_free(device),
        taken_bytes=_taken(device),
        is_cpu=device.type == "cpu",
    )
    settings = EngineSettings(
        budget_bytes=sized.cache_bytes,
        max_len=sized.max_len,
        page_tokens=options.page_tokens,
        chunk_tokens=sized.chunk_tokens,
        max_sequences=options.max_sequences,
        prefix_cache=options.prefix_cache,
        swap_bytes=options.swap_bytes,
    )
    promised = {"weights": weight_bytes, "kv_cache": sized.cache_bytes, "activations": sized.transient_bytes, "runtime": before}
    if options.swap_bytes:
        promised["swap"] = options.swap_bytes
    return Ready(loaded=loaded, engine=Engine(loaded, settings), sized=sized, promised=promised)


async def _live(options: Options, ready: Ready, keys: tuple[bytes, ...], began: float) -> int:
    stopping = asyncio.Event()
    source = ready.loaded.source
    language = language_of(source.documents, source.metadata)
    failures: list[BaseException] = []

    def fail(error: BaseException) -> None:
        failures.append(error)
        stopping.set()

    worker = Worker(ready.engine, asyncio.get_running_loop(), fail)
    longest = ready.engine.stats().budget_tokens
    service = Service(
        worker=worker,
        language=language,
        grammars=Grammars(language.tokenizer, ready.loaded.architecture.vocab_size),
        metrics=Metrics(),
        model=options.served_name,
        vocab_size=ready.loaded.architecture.vocab_size,
        longest_tokens=longest,
    )
    sized, settings = ready.sized, ready.engine.settings
    shown = format_bytes(sized.cache_bytes)
    say(f"cache: up to {sized.cache_bytes} bytes ({shown}), {longest} tokens, pages of {settings.page_tokens} tokens")
    say(f"chunk: {sized.chunk_tokens} tokens; at most {settings.max_sequences} sequences of {sized.max_len} tokens at once")
    say(f"promised: {', '.join(f'{purpose} {nbytes} bytes' for purpose, nbytes in ready.promised.items())}")
    app = App(service, Memory(ready.promised), keys)
    try:
        await serve(app, options.host, options.port, stopping, partial(_tell_listening, began))
    finally:
        worker.stop()
    for error in failures:
        say(f"error: the engine failed: {type(error).__name__}: {error}")
    return _FAILED if failures else 0


def _tell_listening(began: float, url: str) -> None:
    say(f"listening on {url} after {time.monotonic() - began:.2f} s")


def _config(model: str) -> dict[str, Json]:
    """The configuration beside safetensors files; what a GGUF file holds is packed and has no dtype of its own."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return {}
    documents = Documents(folder)
    found = wire.loads(documents["config.json"]) if "config.json" in documents else {}
    if not isinstance(found, dict):
        raise MalformedFileError(f"config.json of {model} is no JSON object")
    return found


def _device(options: Options) -> torch.device:
    names = options.devices or (("cuda",) if torch.cuda.is_available() else ("cpu",))
    if len(names) > 1:
        raise InputError(f"--device {','.join(names)}: one device is served from; name one")
    if names[0].startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"--device {names[0]}: PyTorch sees no such device here; write --device cpu")
    return torch.device("cpu") if names[0].startswith("cpu") else torch.device(names[0])


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    there = host.read()
    return there.total_bytes - there.reserved_bytes


def _taken(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.memory_reserved(device))
    return resident_bytes()
