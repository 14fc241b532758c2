"""llama.cpp's own server from the package ``xllamacpp``, under llama-server's flags: the package carries the server but no program.

Runs in the environment of ``make engines``, which gives it the name ``llama-server``.
"""

import argparse
import importlib.metadata
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import xllamacpp

SLOTS = 4  # what the program itself takes where nobody says -np, with one cache for all
_OFF = {"off", "0", "false", "disabled"}


def _auto(word: str, yes: Any, no: Any, unsaid: Any) -> Any:
    return unsaid if word == "auto" else no if word in _OFF else yes


def _cache(word: str) -> Any:
    return getattr(xllamacpp.ggml_type, f"GGML_TYPE_{word.upper()}")


def _flash(word: str) -> Any:
    kinds = xllamacpp.llama_flash_attn_type
    return _auto(word, kinds.LLAMA_FLASH_ATTN_TYPE_ENABLED, kinds.LLAMA_FLASH_ATTN_TYPE_DISABLED, kinds.LLAMA_FLASH_ATTN_TYPE_AUTO)


def _load(word: str) -> Any:
    return getattr(xllamacpp.llama_load_mode, f"LLAMA_LOAD_MODE_{word.upper().replace('+', '_').replace('DIO', 'DIRECT_IO')}")


# Flags with a value: spellings, the field of the parameters, how the word is read.
VALUES: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("-m --model", "model.path", str),
    ("-a --alias", "model_alias", lambda word: {word}),
    ("--host", "hostnames", lambda word: [word]),
    ("--port", "port", int),
    ("-c --ctx-size", "n_ctx", int),
    ("-np --parallel", "n_parallel", int),
    ("-b --batch-size", "n_batch", int),
    ("-ub --ubatch-size", "n_ubatch", int),
    ("-ctk --cache-type-k", "cache_type_k", _cache),
    ("-ctv --cache-type-v", "cache_type_v", _cache),
    ("-fa --flash-attn", "flash_attn_type", _flash),
    ("-ngl --n-gpu-layers --gpu-layers", "n_gpu_layers", int),
    ("-cram --cache-ram", "cache_ram_mib", int),
    ("-ctxcp --ctx-checkpoints --swa-checkpoints", "n_ctx_checkpoints", int),
    ("-fit --fit", "fit_params", lambda word: word not in _OFF),
    ("-fitc --fit-ctx", "fit_params_min_ctx", int),
    ("-lm --load-mode", "load_mode", _load),
    ("-lv --verbosity --log-verbosity", "verbosity", int),
    ("-t --threads", "cpuparams.n_threads", int),
    ("-tb --threads-batch", "cpuparams_batch.n_threads", int),
    ("--threads-http", "n_threads_http", int),
    ("-to --timeout", "timeout_read", int),
)
SWITCHES: tuple[tuple[str, str, bool], ...] = (
    ("-kvu --kv-unified", "kv_unified", True),
    ("-no-kvu --no-kv-unified", "kv_unified", False),
    ("--metrics", "endpoint_metrics", True),
    ("--slots", "endpoint_slots", True),
    ("--no-slots", "endpoint_slots", False),
    ("--swa-full", "swa_full", True),
    ("-nr --no-repack", "no_extra_bufts", True),
    ("-nkvo --no-kv-offload", "no_kv_offload", True),
    ("--no-warmup", "warmup", False),
    ("--embedding --embeddings", "embedding", True),
    ("--jinja", "use_jinja", True),
    ("--no-jinja", "use_jinja", False),
    ("--cache-prompt", "cache_prompt", True),
    ("--no-cache-prompt", "cache_prompt", False),
    ("--offline", "offline", True),
    ("-v --verbose", "verbosity", True),
)
# The variables that stand for flags, of those that no plan writes as words.
VARIABLES = {"LLAMA_ARG_THREADS": "--threads", "LLAMA_ARG_THREADS_BATCH": "--threads-batch", "LLAMA_ARG_LOG_VERBOSITY": "--verbosity"}
_MOST_WORDS = 0x7FFFFFFF


def parser() -> argparse.ArgumentParser:
    """The flags above; any other is refused."""
    found = argparse.ArgumentParser("llama-server", allow_abbrev=False, argument_default=argparse.SUPPRESS)
    build = importlib.metadata.version("xllamacpp").rpartition(".")[2]
    found.add_argument("--version", action="version", version=f"version: {build} (xllamacpp)")
    for spellings, field, read in VALUES:
        found.add_argument(*spellings.split(), dest=field, type=read)
    for spellings, field, value in SWITCHES:
        found.add_argument(*spellings.split(), dest=field, action="store_const", const=_MOST_WORDS if field == "verbosity" else value)
    return found


def parameters(said: dict[str, Any]) -> Any:
    """What the words say, with the program's own default of slots."""
    params = xllamacpp.CommonParams()
    params.port = 8080
    if said.get("n_parallel", -1) < 0:
        said = {"kv_unified": True, **said, "n_parallel": SLOTS}
    for field, value in said.items():
        *path, last = field.split(".")
        place = params
        for name in path:
            place = getattr(place, name)
        setattr(place, last, value)
    return params


def main() -> None:
    """Serve until a signal to stop."""
    variables = [word for name, flag in VARIABLES.items() if name in os.environ for word in (flag, os.environ[name])]
    params = parameters(vars(parser().parse_args([*variables, *sys.argv[1:]])))
    stopped = threading.Event()
    server = xllamacpp.Server(params)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    stopped.wait()
    del server


if __name__ == "__main__":
    main()
