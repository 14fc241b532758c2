"""Runs a real engine on a real device and stores what it took, one JSON file a run.

The model is a bundled configuration with random weights, its layers cut off where ``--layers`` says so: memory does not depend on what
the weights are. On CUDA PyTorch's allocator and the driver are read after loading, at the first token and at the end; on a CPU live
tensor bytes are counted, which is what an allocator would be asked for. Needs torch, transformers and accelerate.
"""

import argparse
import itertools
import platform
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import torch
import transformers

from transformers_run import Trial, backend, generate, load, make
from ullage import wire
from ullage.catalog import models
from ullage.domain.hyperparameters import Json
from ullage.domain.observation import Observation, Run, Site
from ullage.domain.workload import Workload

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "tests" / "data" / "observations"
LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
EPILOG = "Only Transformers is run. ExLlamaV2 and ExLlamaV3 need their CUDA kernels and are not recorded by this tool."


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a bundled model, as `ullage models` lists them")
    parser.add_argument("--layers", type=int, help="keep only the first layers")
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu", help="cuda:0, cpu, ...")
    parser.add_argument("--dtype", nargs="+", default=["bfloat16"], choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--attention", nargs="+", default=["sdpa"], help="eager, sdpa, flash_attention_2, ...")
    parser.add_argument("--cache", nargs="+", default=["dynamic"], help="dynamic, static, offloaded, quantized (needs quanto or hqq)")
    parser.add_argument("--prompt", nargs="+", type=int, default=[512], help="tokens of the prompt")
    parser.add_argument("--chunk", nargs="+", type=int, default=[0], help="prefill_chunk_size; 0 runs the prompt whole")
    parser.add_argument("--answer", type=int, default=16, help="tokens of the answer")
    parser.add_argument("--rows", type=int, default=1, help="sequences at once")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the observations")
    asked = parser.parse_args()
    asked.device = "cuda:0" if asked.device == "cuda" else asked.device
    return asked


def shape(word: str, layers: int | None) -> tuple[str, dict[str, Json]]:
    """The model's id and its configuration, cut to so many layers."""
    found = models.lookup(word)
    if found is None:
        sys.exit(f"{word} is not bundled; near are {', '.join(models.near(word))}")
    config = wire.loads(models.configuration(found))
    if not isinstance(config, dict):
        sys.exit(f"the configuration of {found.id} is no object")
    return found.id, cut(config, layers) if layers else config


def cut(config: dict[str, Json], layers: int) -> dict[str, Json]:
    """The configuration with so many layers; lists with one entry a layer are cut too."""
    inner = config.get("text_config")
    if isinstance(inner, dict) and any(key in inner for key in LAYERS):
        return {**config, "text_config": cut(inner, layers)}
    key = next(key for key in LAYERS if key in config)
    whole = config[key]
    if not isinstance(whole, int) or layers > whole:
        sys.exit(f"the model has {whole} layers; --layers {layers} is more")
    short = {name: value[:layers] if isinstance(value, list) and len(value) == whole else value for name, value in config.items()}
    return {**short, key: layers}


def trials(asked: argparse.Namespace) -> Iterator[Trial]:
    """Every combination that makes sense, those of one loading together."""
    caches = [cache for cache in asked.cache if cache != "quantized" or backend()]
    for word in set(asked.cache) - set(caches):
        print(f"left out: cache {word}, as neither quanto nor hqq is installed")
    for dtype, attention, cache, prompt, chunk in itertools.product(asked.dtype, asked.attention, caches, asked.prompt, asked.chunk):
        if chunk < prompt:
            yield Trial(
                dtype=dtype,
                attention=attention,
                cache=cache,
                prompt=prompt,
                answer=asked.answer,
                rows=asked.rows,
                chunk=chunk or None,
            )


def site(device: str) -> Site:
    """This machine's device."""
    date, version = datetime.now(tz=UTC).date().isoformat(), str(torch.__version__)
    if not device.startswith("cuda"):
        total = psutil.virtual_memory().total
        return Site(kind="cpu", device=f"{platform.machine()} processor", total_bytes=total, torch=version, date=date)
    import pynvml  # noqa: PLC0415 - only where there is a driver

    pynvml.nvmlInit()
    card = torch.cuda.get_device_properties(device)
    return Site(
        kind="cuda",
        device=card.name,
        total_bytes=torch.cuda.mem_get_info(device)[1],
        torch=version,
        date=date,
        driver=pynvml.nvmlSystemGetDriverVersion(),
        compute_capability=(card.major, card.minor),
    )


def name_of(run: Run, trial: Trial, at: Site, layers: int | None) -> str:
    """The observation's name: what was run and on what."""
    words = [run.engine, run.version, at.kind if at.kind == "cpu" else at.device, run.model.rpartition("/")[2]]
    words += [f"{layers}l"] if layers else []
    words += [trial.dtype, trial.attention, trial.cache, str(trial.prompt)]
    words += [f"chunk{trial.chunk}"] if trial.chunk else []
    words += [f"x{trial.rows}"] if trial.rows > 1 else []
    return "-".join(words).lower().replace(" ", "-")


def store(observation: Observation, folder: Path) -> None:
    """Write one observation."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{observation.name}.json").write_text(wire.dumps(wire.to_wire(observation), indent=1) + "\n")
    peaks = ", ".join(f"{reading.phase} {reading.peak_allocated_bytes:,}" for reading in observation.readings)
    print(f"{observation.name}: {peaks}", flush=True)


def main() -> None:
    """Make the model, then load it for every dtype and attention, and run every trial."""
    asked = arguments()
    name, config = shape(asked.model, asked.layers)
    at = site(asked.device)
    if at.kind == "cuda":
        torch.cuda.set_device(asked.device)
    with tempfile.TemporaryDirectory() as made:
        make(config, Path(made))
        for (dtype, attention), group in itertools.groupby(trials(asked), key=lambda trial: (trial.dtype, trial.attention)):
            model, loaded = load(Path(made), dtype, attention, asked.device)
            for trial in group:
                counting, readings = generate(model, trial, loaded[-1])
                run = run_of(name, config, trial, asked.device)
                named = name_of(run, trial, at, asked.layers)
                store(Observation(name=named, run=run, site=at, counting=counting, readings=(*loaded, *readings)), asked.out)
            del model


def run_of(name: str, config: Json, trial: Trial, device: str) -> Run:
    """What was run, as an observation states it."""
    return Run(
        engine="transformers",
        version=str(transformers.__version__),
        model=name,
        configuration=config,
        settings=trial.settings(device),
        workload=Workload(context_tokens=trial.prompt + trial.answer, concurrent_sequences=trial.rows, prompt_tokens=trial.prompt),
    )


if __name__ == "__main__":
    main()
