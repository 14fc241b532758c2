"""Runs Transformers with random weights in a real shape and reads its memory: after loading, at the first token, and at the end."""

import gc
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers

from live_bytes import LiveBytes, storage_bytes
from ullage import wire
from ullage.domain.case import Settings, Value
from ullage.domain.hyperparameters import Json
from ullage.domain.ledger import Phase, Purpose
from ullage.domain.observation import Counting, Held, Reading

QUANTISERS = {"quanto": "optimum.quanto", "hqq": "hqq"}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run of ``generate``."""

    dtype: str
    attention: str
    cache: str
    prompt: int
    answer: int
    rows: int
    chunk: int | None = None

    def settings(self, device: str) -> Settings:
        """What was set, in the words of Transformers."""
        values: dict[str, Value] = {
            "dtype": self.dtype,
            "device_map": device,
            "attn_implementation": self.attention,
            "cache_implementation": self.cache,
            "max_new_tokens": self.answer,
            "do_sample": False,
            "disable_compile": True,
        }
        if self.chunk:
            values["prefill_chunk_size"] = self.chunk
        if self.cache == "quantized":
            values |= {"cache_backend": backend(), "cache_nbits": 4}
        return Settings.of(values)


def backend() -> str | None:
    """The installed library that quantises a cache, or None."""
    return next((word for word, module in QUANTISERS.items() if importlib.util.find_spec(module.partition(".")[0])), None)


class Meter(Protocol):
    """Says what a device took between two calls."""

    counting: Counting

    def take(self, phase: Phase, held: tuple[Held, ...]) -> Reading:
        """The reading of the phase that ends now."""


class CudaMeter:
    """PyTorch's allocator and the driver, on the current CUDA device."""

    counting = Counting.ALLOCATOR

    def take(self, phase: Phase, held: tuple[Held, ...]) -> Reading:
        """The reading of the phase that ends now."""
        torch.cuda.synchronize()
        allocated, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        free, total = torch.cuda.mem_get_info()
        torch.cuda.reset_peak_memory_stats()
        return Reading(phase=phase, peak_allocated_bytes=allocated, peak_reserved_bytes=reserved, device_used_bytes=total - free, held=held)


class LiveMeter:
    """Live tensor bytes, on any device; ``before`` are alive already."""

    counting = Counting.LIVE_TENSORS

    def __init__(self, live: LiveBytes, before: int) -> None:
        self._live, self._before = live, before

    def take(self, phase: Phase, held: tuple[Held, ...]) -> Reading:
        """The reading of the phase that ends now."""
        return Reading(phase=phase, peak_allocated_bytes=self._before + self._live.take_peak(), held=held)


def make(configuration: dict[str, Json], folder: Path) -> None:
    """Write a model of that shape with random weights in its own dtype to a folder."""
    (folder / "config.json").write_text(wire.dumps(configuration))
    config = transformers.AutoConfig.from_pretrained(folder)
    torch.manual_seed(0)
    dtype = configuration.get("torch_dtype") or configuration.get("dtype") or "float32"
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=getattr(torch, str(dtype)))
    model.save_pretrained(folder)
    (folder / "config.json").write_text(wire.dumps(configuration))  # as published, without what saving added


def load(folder: Path, dtype: str, attention: str, device: str) -> tuple[Any, tuple[Reading, ...]]:
    """The model as a user loads it, and the readings of loading (on CUDA) and of what lies there afterwards."""
    release()
    on_cuda = device.startswith("cuda")
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation=attention, device_map=device
    ).eval()
    weights, buffers = (sum(_distinct(found)) for found in (model.parameters(), model.buffers()))
    held = (Held(purpose=Purpose.WEIGHTS, nbytes=weights), Held(purpose=Purpose.BUFFERS, nbytes=buffers))
    if on_cuda:
        meter = CudaMeter()
        return model, (meter.take(Phase.LOAD, ()), meter.take(Phase.RESIDENT, held))
    return model, (Reading(phase=Phase.RESIDENT, peak_allocated_bytes=weights + buffers, held=held),)


def _distinct(tensors: Iterator[Any]) -> list[int]:
    """Bytes of every tensor, those that share memory once; a mapped file counts by what is used of it."""
    return list({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())


def release() -> None:
    """Give back what earlier runs left."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def generate(model: Any, trial: Trial, resident: Reading) -> tuple[Counting, tuple[Reading, ...]]:
    """The readings of the prompt with its first token, and of the tokens after it."""
    release()
    if model.device.type == "cuda":
        meter = CudaMeter()
        torch.cuda.reset_peak_memory_stats()
        return meter.counting, _generate(model, trial, meter)
    live = LiveBytes((*model.parameters(), *model.buffers()))
    with live:
        return LiveMeter.counting, _generate(model, trial, LiveMeter(live, resident.peak_allocated_bytes))


def _generate(model: Any, trial: Trial, meter: Meter) -> tuple[Reading, ...]:
    caches: list[Any] = []
    readings: list[Reading] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        caches[:] = [output.past_key_values]

    def first_token(tokens: Any, _scores: Any, **_others: Any) -> Any:
        if not readings:
            readings.append(meter.take(Phase.PREFILL, _cached(caches, model.device)))
        return torch.zeros(tokens.shape[0], dtype=torch.bool, device=tokens.device)

    prompt = torch.randint(0, model.config.get_text_config().vocab_size, (trial.rows, trial.prompt), device=model.device)
    hook = model.register_forward_hook(keep)
    model.generation_config = _generation(trial)  # nothing of the model's own: no end of text, no sampling
    try:
        with torch.no_grad():
            model.generate(prompt, attention_mask=torch.ones_like(prompt), stopping_criteria=[first_token])
    finally:
        hook.remove()
    readings.append(meter.take(Phase.DECODE, _cached(caches, model.device)))
    for kept in ("_cache", "_previous_max_cache_length"):  # by which a static cache outlives its run, or its length does
        model.__dict__.pop(kept, None)
    return tuple(readings)


def _generation(trial: Trial) -> Any:
    words: dict[str, Any] = {}
    if trial.cache == "quantized":
        words["cache_config"] = {"backend": backend(), "nbits": 4}
    return transformers.GenerationConfig(
        max_new_tokens=trial.answer,
        do_sample=False,
        disable_compile=True,
        cache_implementation=None if trial.cache == "dynamic" else trial.cache,
        prefill_chunk_size=trial.chunk,
        **words,
    )


def _cached(caches: list[Any], device: Any) -> tuple[Held, ...]:
    """What the cache's layers hold on the device, states included; marks of a few bytes are no part of it."""
    found = [tensor for cache in caches for layer in cache.layers for tensor in _tensors(vars(layer))]
    tensors = [tensor for tensor in found if tensor.ndim > 1 and tensor.device == device]
    return (Held(purpose=Purpose.KV_CACHE, nbytes=storage_bytes(tensors)),)


def _tensors(value: Any) -> Iterator[Any]:
    """The plain tensors inside a value, packed ones taken apart."""
    if hasattr(value, "__tensor_flatten__"):
        for name in value.__tensor_flatten__()[0]:
            yield from _tensors(getattr(value, name))
    elif isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)
