"""From options to an engine that may start: what is promised before a weight is read, then loading and sizing."""

from collections.abc import Callable
from pathlib import Path

import torch

from ullage.commands.model import read_model
from ullage.engines.runtime.placement import NO_EXPERTS, spans_of
from ullage.engines.runtime.process import process_bytes
from ullage.engines.runtime.residence import ELEMENT_BYTES
from ullage.engines.runtime.settings import dual_chunk
from ullage.engines.runtime.shares import shares_of
from ullage.engines.runtime.versions import DEVICE_CONTEXT
from ullage.engines.runtime.weights import How, resident
from ullage.errors import InputError
from ullage.frozen import dataclass
from ullage.ports import ModelFolder
from ullage.runtime.engine import Engine, EngineSettings
from ullage.runtime.load import Loaded, load
from ullage.runtime.options import Options
from ullage.runtime.shortage import while_doing
from ullage.runtime.sizing import Sized, dtype_word
from ullage.runtime.spread import devices_of, sizes, split_for
from ullage.world.files import open_model


@dataclass(frozen=True, eq=False, kw_only=True)
class Ready:
    """A model that is loaded and sized. ``promised`` are bytes by purpose, all of them together under ``process``."""

    loaded: Loaded
    engine: Engine
    sized: Sized
    dtype: str
    promised: dict[str, int]


class _Files:
    """Models of this machine; nothing is fetched."""

    def local(self, word: str) -> ModelFolder | None:
        return open_model(word)

    def remote(self, word: str) -> ModelFolder:
        raise InputError(f"{word} is no folder and no file here; fetch the model first")


def make_ready(options: Options, begin: Callable[[], None] = lambda: None) -> Ready:
    """``begin`` is called before weights are read. Raises InputError for what does not fit or cannot be, and what loading raises."""
    devices = devices_of(options)
    device = devices[0].type
    if not Path(options.model).expanduser().exists():
        raise InputError(f"{options.model} does not exist: give a directory with .safetensors files, or a .gguf file")
    model = read_model(str(Path(options.model).expanduser().absolute()), _Files()).model
    word = dtype_word(options.dtype, model.architecture.dtype, device=device)
    if options.host_experts and not model.architecture.is_mixture:
        raise InputError(NO_EXPERTS)
    found = resident(model, How(asked=options.weights, dtype=word, device=device, spread=len(devices) > 1))
    split = split_for(options, model.architecture, found, devices, ELEMENT_BYTES[word])
    chunks = None if options.dual_chunk is None else dual_chunk(options.dual_chunk)
    begin()
    with while_doing("loading the weights"):
        loaded = load(
            options.model,
            dtype=getattr(torch, word),
            device=devices[0],
            weights=options.weights,
            dual_chunk=chunks,
            staged_experts=options.host_experts,
            devices=devices,
            split=split,
        )
    sized = sizes(options, loaded, split, ELEMENT_BYTES[word])
    base = process_bytes(model.path, model.architecture.vocab_size) if device == "cpu" else DEVICE_CONTEXT.value * len(devices)
    parts = {"weights": found.nbytes, "kv_cache": sized.cache_bytes, "activations": sized.step_bytes, "runtime": base}
    parts["swap"] = options.swap_bytes
    if options.host_experts:
        parts["staging"] = sum(
            share.staging
            for share in shares_of(model.architecture, found, spans_of(split, len(found.layers), len(devices)), options.host_experts)
        )
    promised = {**parts, "process": sum(parts.values())}
    with while_doing(f"reserving the cache of {options.max_sequences} sequences of {sized.max_len} tokens"):
        engine = Engine(loaded, _settings(options, sized))
    return Ready(loaded=loaded, engine=engine, sized=sized, dtype=word, promised=promised)


def _settings(options: Options, sized: Sized) -> EngineSettings:
    return EngineSettings(
        budget_bytes=sized.cache_bytes,
        budgets=sized.budgets,
        max_len=sized.max_len,
        page_tokens=options.page_tokens,
        kv_dtype=options.kv_dtype,
        chunk_tokens=sized.chunk_tokens,
        max_sequences=options.max_sequences,
        prefix_cache=options.prefix_cache,
        swap_bytes=options.swap_bytes,
    )
