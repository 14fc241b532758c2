"""From options to an engine that may start: what is promised before a weight is read, then loading and sizing."""

from pathlib import Path

import torch

from ullage.commands.model import read_model
from ullage.domain.case import Model
from ullage.engines.runtime.pages import form_of
from ullage.engines.runtime.residence import ELEMENT_BYTES
from ullage.engines.runtime.settings import cache_forms, dual_chunk
from ullage.engines.runtime.versions import DEVICE_CONTEXT, PROCESS
from ullage.engines.runtime.weights import How, resident
from ullage.errors import InputError
from ullage.frozen import dataclass
from ullage.ports import ModelFolder
from ullage.runtime.engine import Engine, EngineSettings
from ullage.runtime.load import Loaded, load
from ullage.runtime.memory import resident_bytes
from ullage.runtime.options import Options
from ullage.runtime.shortage import while_doing
from ullage.runtime.sizing import Sized, dtype_word, size
from ullage.world.drivers import host
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


def make_ready(options: Options) -> Ready:
    """Raises InputError where it does not fit or an option cannot be, and what loading raises."""
    device = device_of(options)
    if not Path(options.model).expanduser().exists():
        raise InputError(f"{options.model} does not exist: give a directory with .safetensors files, or a .gguf file")
    model = read_model(str(Path(options.model).expanduser().absolute()), _Files()).model
    word = dtype_word(options.dtype, model.architecture.dtype, device=device.type)
    weights = _promised_weights(model, options.weights, word, device.type)
    chunks = None if options.dual_chunk is None else dual_chunk(options.dual_chunk)
    with while_doing("loading the weights"):
        loaded = load(options.model, dtype=getattr(torch, word), device=device, weights=options.weights, dual_chunk=chunks)
    keys, values = cache_forms(options.kv_dtype)
    form = form_of(loaded.groups, page_tokens=options.page_tokens, keys=keys, values=values, element=ELEMENT_BYTES[word])
    sized = size(
        options,
        loaded.architecture,
        form,
        element=ELEMENT_BYTES[word],
        free_bytes=_free(device),
        taken_bytes=_taken(device),
        device=device.type,
    )
    base = PROCESS.value if device.type == "cpu" else DEVICE_CONTEXT.value
    parts = {"weights": weights, "kv_cache": sized.cache_bytes, "activations": sized.step_bytes, "runtime": base}
    parts["swap"] = options.swap_bytes
    promised = {**parts, "process": sum(parts.values())}
    with while_doing(f"reserving the cache of {options.max_sequences} sequences of {sized.max_len} tokens"):
        engine = Engine(loaded, _settings(options, sized))
    return Ready(loaded=loaded, engine=engine, sized=sized, dtype=word, promised=promised)


def _promised_weights(model: Model, asked: str, dtype: str, device: str) -> int:
    return resident(model, How(asked=asked, dtype=dtype, device=device)).nbytes


def _settings(options: Options, sized: Sized) -> EngineSettings:
    return EngineSettings(
        budget_bytes=sized.cache_bytes,
        max_len=sized.max_len,
        page_tokens=options.page_tokens,
        kv_dtype=options.kv_dtype,
        chunk_tokens=sized.chunk_tokens,
        max_sequences=options.max_sequences,
        prefix_cache=options.prefix_cache,
        swap_bytes=options.swap_bytes,
    )


def device_of(options: Options) -> torch.device:
    """The device asked for, or the first there is. Raises InputError."""
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
