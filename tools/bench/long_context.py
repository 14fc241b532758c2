"""A real model's shape with random weights at very long context: bytes against the plan, seconds, tokens per second of decode.

Proves memory and time, not quality. For the table that is still to be measured on a GPU, one command a row:

    python tools/bench/long_context.py --device cuda --tokens 131072 --chunk 8192
    python tools/bench/long_context.py --device cuda --tokens 524288 --chunk 8192
    python tools/bench/long_context.py --device cuda --tokens 1008000 --chunk 16384 --kv-dtype fp8

``--layers`` cuts the model, for a try on a processor. Prints one JSON object, which is the observation to be stored.
"""

import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from math import prod
from pathlib import Path
from random import Random
from typing import Any

import torch

from ullage import architectures
from ullage.catalog import models
from ullage.domain.hyperparameters import Hyperparameters
from ullage.runtime.engine import Engine, EngineSettings, Request
from ullage.runtime.load import load
from ullage.runtime.process import peak_resident_bytes, reset_peak

_ANSWER = 64


def written(folder: Path, name: str, layers: int | None) -> None:
    """The model's configuration and a file of random bfloat16 weights, tensor by tensor."""
    found = models.lookup(name)
    if found is None:
        sys.exit(f"{name} is not bundled; `ullage models` lists what is")
    config = json.loads(models.configuration(found))
    config |= {"num_hidden_layers": layers or config["num_hidden_layers"], "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = architectures.read(Hyperparameters(config)).tensors
    entries: dict[str, Any] = {}
    at = 0
    for tensor in tensors:
        end = at + 2 * prod(tensor.shape)
        entries[tensor.name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    draw = torch.Generator().manual_seed(0)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for tensor in tensors:
            values = torch.empty(tensor.shape, dtype=torch.bfloat16).normal_(0.0, 0.02, generator=draw)
            if "norm" in tensor.name:
                values.fill_(1.0)
            file.write(ctypes.string_at(values.data_ptr(), values.nbytes))


def promised(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What the plan says of the device: bytes by purpose, and the peak."""
    where = ("--gpu", "cpu" if options.device == "cpu" else "local")
    settings = ("--set", f"chunk={options.chunk}", "--set", f"kv_dtype={options.kv_dtype}", "--set", "max_seqs=1")
    context = str(options.tokens + _ANSWER)
    words = ("plan", str(folder), "--engine", "runtime", *where, *settings, "--context", context, "--baselines", "none", "--json")
    done = subprocess.run([sys.executable, "-m", "ullage", *words], capture_output=True, text=True, check=False)
    plan = json.loads(done.stdout)
    if "devices" not in plan:
        sys.exit(done.stdout + done.stderr)
    device = plan["devices"][0]
    return {"peak": device["peak"], "entries": device["entries"], "verdict": plan["verdict"]}


def measured(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One prompt and its answer."""
    device = torch.device(options.device)
    loaded = load(str(folder), dtype=torch.bfloat16, device=device)
    settings = EngineSettings(
        budget_bytes=1 << 40,
        max_len=options.tokens + _ANSWER,
        chunk_tokens=options.chunk,
        max_sequences=1,
        prefix_cache=False,
        kv_dtype=options.kv_dtype,
    )
    engine = Engine(loaded, settings)
    draw = Random(1)  # noqa: S311 - no secret
    prompt = tuple(draw.randrange(loaded.architecture.vocab_size) for _ in range(options.tokens))
    engine.submit(Request(prompt=prompt, max_new_tokens=_ANSWER))
    reset_peak()
    began, first, cache = time.perf_counter(), 0.0, 0
    while engine.has_work:
        if engine.step() and not first:
            first = time.perf_counter()
        cache = max(cache, engine.stats().used_bytes)
    whole = time.perf_counter()
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_resident_bytes()
    return {
        "weights_bytes": loaded.decoder.weight_bytes,
        "cache_bytes": cache,
        "peak_bytes": peak,
        "prefill_s": round(first - began, 2),
        "decode_tokens_per_s": round((_ANSWER - 1) / (whole - first), 2),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }


def main() -> None:
    """Write, plan, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="Qwen2.5-7B-Instruct-1M")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tokens", type=int, default=131_072)
    parser.add_argument("--chunk", type=int, default=8192)
    parser.add_argument("--kv-dtype", default="native")
    parser.add_argument("--layers", type=int)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        written(folder, options.model, options.layers)
        plan = promised(folder, options)
        seen = measured(folder, options)
    print(json.dumps({"at": datetime.now(UTC).isoformat(timespec="seconds"), "asked": vars(options), "promised": plan, "seen": seen}))


if __name__ == "__main__":
    main()
