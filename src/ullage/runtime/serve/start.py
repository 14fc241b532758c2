"""A server from options: make the model ready, say what is promised, listen, and end in order."""

import asyncio
import shlex
import sys
import time
from functools import partial

from ullage.runtime.loading.release import release_all
from ullage.runtime.memory import Memory
from ullage.runtime.options import KEY_VARIABLE, Options
from ullage.runtime.process import give_back_freed
from ullage.runtime.ready import Ready, make_ready
from ullage.runtime.serve.address import try_address
from ullage.runtime.serve.app import App, keys_of, serve
from ullage.runtime.serve.constrain import Grammars
from ullage.runtime.serve.defaults import FILE, sampling_defaults
from ullage.runtime.serve.exchange import Service
from ullage.runtime.serve.metrics import Metrics
from ullage.runtime.serve.voice import say
from ullage.runtime.serve.worker import Worker
from ullage.runtime.shortage import OutOfMemoryError, while_doing
from ullage.text.language import language_of
from ullage.units import format_bytes

_FAILED = 4


def run(options: Options, remarks: tuple[str, ...], began: float) -> int:
    """Serve until told to stop; the exit code. Raises what loading raises."""
    for remark in remarks:
        say(f"note: {remark}")
    keys = keys_of(options.key_file, KEY_VARIABLE)
    try_address(options.host, options.port)
    return asyncio.run(_live(options, make_ready(options, partial(_tell_loading, options)), keys, began))


def _tell_loading(options: Options) -> None:
    """The command in the words of a log that is read by itself, and how far we are."""
    say(f"command: {shlex.join(('python', '-m', 'ullage.runtime', *sys.argv[1:]))}")
    say(f"loading: {options.model}")


async def _live(options: Options, ready: Ready, keys: tuple[bytes, ...], began: float) -> int:
    stopping = asyncio.Event()
    failures: list[BaseException] = []

    def fail(error: BaseException) -> None:
        failures.append(error)
        said = next(iter(str(error).splitlines()), "")
        say(said if isinstance(error, OutOfMemoryError) else f"error: the engine failed: {type(error).__name__}: {said}")
        stopping.set()

    worker = Worker(ready.engine, asyncio.get_running_loop(), fail)
    with while_doing("the tokeniser was made"):
        service = _service(options, ready, worker)
    _tell(options, ready)
    app = App(service, Memory(ready.promised), keys)
    try:
        await serve(app, options.host, options.port, stopping, partial(_tell_listening, began), lambda: bool(failures))
    finally:
        worker.stop()
    return _FAILED if failures else 0


def _service(options: Options, ready: Ready, worker: Worker) -> Service:
    source, vocab_size = ready.loaded.source, ready.loaded.architecture.vocab_size
    language = language_of(source.documents, source.metadata)
    release_all(source)  # a vocabulary is made of the file's pages and of much that is freed again
    give_back_freed()
    defaults = sampling_defaults(source.documents)
    if defaults:
        say(f"note: unless a request says otherwise: {', '.join(f'{name} {value:g}' for name, value in defaults.items())} ({FILE})")
    return Service(
        worker=worker,
        language=language,
        grammars=Grammars(language.tokenizer, vocab_size),
        metrics=Metrics(),
        model=options.served_name,
        vocab_size=vocab_size,
        defaults=defaults,
        longest_tokens=ready.engine.stats().longest_tokens,
    )


def _tell(options: Options, ready: Ready) -> None:
    """Lines that ``engines.runtime`` reads."""
    sized, settings, weights = ready.sized, ready.engine.settings, ready.loaded.decoder.weight_bytes
    say(f"weights: {weights} bytes ({format_bytes(weights)}) as {options.weights}, computed in {ready.dtype} on {_where(options, ready)}")
    shown, tokens = format_bytes(sized.cache_bytes), ready.engine.stats().budget_tokens
    say(f"cache: up to {sized.cache_bytes} bytes ({shown}), {tokens} tokens, pages of {settings.page_tokens} tokens")
    say(f"chunk: {sized.chunk_tokens} tokens; at most {settings.max_sequences} sequences of {sized.max_len} tokens at once")
    say(f"promised: {', '.join(f'{purpose} {nbytes} bytes ({format_bytes(nbytes)})' for purpose, nbytes in ready.promised.items())}")


def _where(options: Options, ready: Ready) -> str:
    stages = ready.loaded.decoder.stages
    if len(stages) == 1:
        return str(ready.loaded.device)
    return ", ".join(
        f"{name}: {len(stage.blocks)} layers, {stage.weight_bytes} bytes" for name, stage in zip(options.devices, stages, strict=True)
    )


def _tell_listening(began: float, url: str) -> None:
    say(f"listening on {url} after {time.monotonic() - began:.2f} s")
