"""Ullage beside hf-mem and kvfit, on the same models in one run: what each costs, and what each states next to the truth.

Both are installed by name into ``.venv-bench`` and run as published. They know the Hub by one address only, so all programs reach a
stand-in for it by a proxy on the loopback interface (hub.py). Ullage also answers from its bundle, with a proxy that nobody serves, so that
asking the network would fail. The weight files are sparse with true headers; the truth is from parameter counts that another program took.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measured import MIB, Cost, conditions, medians, surroundings

ROOT = Path(__file__).parents[2]
VENV = ROOT / ".venv-bench"
MODELS = ("Qwen/Qwen3-8B", "Qwen/Qwen2.5-7B", "meta-llama/Llama-3.1-70B", "Qwen/Qwen3-30B-A3B", "deepseek-ai/DeepSeek-V2-Lite")
CONTEXT, RUNS, LIMIT_S = 8192, 7, 240.0
PLAN = "ullage, bundled"  # what the ratios are of
NOBODY = "http://127.0.0.1:9"

Command = tuple[Sequence[str], Mapping[str, str]]
Stated = tuple[int | None, float | None]  # bytes of weights, bytes of cache a token


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program, how it is asked about a model on one device that holds any of them, and where its JSON answers."""

    name: str
    words: Callable[[str], tuple[str, ...]]
    stated: Callable[[Any], Stated]
    package: str = ""
    proxy: str = ""


def of_ullage(answer: Any) -> Stated:
    """From ``ullage plan --json``."""
    return answer["model"]["weight_bytes"], answer["capacity"]["kv_bytes_per_token"]


def of_hf_mem(answer: Any) -> Stated:
    """From ``hf-mem --json-output``: the cache of one whole sequence."""
    cache = answer["kv_cache"]
    return answer["memory"], None if cache is None else cache / CONTEXT


def of_kvfit(answer: Any) -> Stated:
    """From ``kvfit --json``: the cache of one whole sequence."""
    return answer["weights"]["bytes"], answer["cache"]["bytes_per_sequence"] / CONTEXT


def ullage(word: str) -> tuple[str, ...]:
    """A whole plan, which is more than the others are asked for."""
    return (sys.executable, "-m", "ullage", "plan", word, "--gpu", "400GiB", "--context", str(CONTEXT), "--json")


PROGRAMS = (
    Program(name=PLAN, words=ullage, stated=of_ullage, proxy=NOBODY),
    Program(name="ullage, by Hub id", words=lambda model_id: ullage(f"{model_id}@main"), stated=of_ullage),
    Program(
        name="hf-mem",
        package="hf-mem",
        words=lambda model_id: (
            *(str(VENV / "bin" / "hf-mem"), "--model-id", model_id),
            *("--experimental", "--max-model-len", str(CONTEXT), "--json-output"),
        ),
        stated=of_hf_mem,
    ),
    Program(
        name="kvfit",
        package="kvfit",
        words=lambda model_id: (str(VENV / "bin" / "kvfit"), model_id, "--hardware", "custom:400", "--context", str(CONTEXT), "--json"),
        stated=of_kvfit,
    ),
)


def installed(package: str) -> str | None:
    """The version in the bench's own environment, installed now if it is not there; None, and the reason printed, when it cannot be had."""
    python = str(VENV / "bin" / "python")
    if not Path(python).exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    asked = [python, "-c", f"from importlib.metadata import version; print(version({package!r}))"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", package]
        done = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=LIMIT_S)
        if done.returncode != 0:
            print(f"{package} could not be installed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
            return None
        found = subprocess.run(asked, capture_output=True, text=True, check=True)
    return found.stdout.strip()


@contextmanager
def hub(folder: Path) -> Iterator[dict[str, str]]:
    """The stand-in for the Hub in a process of its own; gives the environment in which it is the Hub."""
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("hub.py")), str(folder), *MODELS], stdout=subprocess.PIPE, text=True
    )
    try:
        port = server.stdout.readline().strip() if server.stdout else ""
        if not port:
            sys.exit("the stand-in for the Hub did not start")
        proxy = f"http://127.0.0.1:{port}"
        yield {"HTTPS_PROXY": proxy, "https_proxy": proxy, "SSL_CERT_FILE": str(folder / "hub.pem.crt"), "HF_HOME": str(folder / "home")}
    finally:
        server.kill()
        server.wait()


def truth(folder: Path, model_id: str) -> Stated:
    """Two bytes a parameter, and the cache of a token by the attention's own formula: keys and values, or the latent and its rotary key."""
    with (ROOT / "tests" / "data" / "param_counts.csv").open() as opened:
        parameters = next(int(row["parameters"]) for row in csv.DictReader(opened) if row["model"] == model_id)
    repository = folder / model_id
    written = json.loads((repository / "model.safetensors.index.json").read_text())["metadata"]["total_size"]
    if written != 2 * parameters:
        sys.exit(f"the headers of {model_id} hold {written:,} bytes and its parameters take {2 * parameters:,}")
    config = json.loads((repository / "config.json").read_text())
    if "kv_lora_rank" in config:
        kept = config["kv_lora_rank"] + config["qk_rope_head_dim"]
    else:
        heads = config["num_attention_heads"]
        kept = 2 * config.get("num_key_value_heads", heads) * config.get("head_dim", config["hidden_size"] // heads)
    return 2 * parameters, 2.0 * kept * config["num_hidden_layers"]


def statement(program: Program, command: Command) -> Stated | str:
    """What it states, or why it states nothing."""
    words, environment = command
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode not in {0, 1} or not done.stdout.startswith("{"):
        return (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    return program.stated(json.loads(done.stdout))


def beside(stated: float | None, true: float | None) -> str:
    """The stated amount, and how far it is from the truth."""
    if stated is None or true is None:
        return "not stated"
    apart = stated / true - 1
    return f"{stated:,.0f} (" + ("exact)" if stated == true else f"{apart:+.2%})" if abs(apart) < 1 else f"{stated / true:.1f} x)")


def row(name: str, cost: Cost, plan: Cost, stated: Stated, true: Stated) -> str:
    """One line of a model's table."""
    return (
        f"| {name} | {cost.wall_s * 1e3:.0f} ms | {cost.wall_s / plan.wall_s:.1f} x | {cost.processor_s / plan.processor_s:.1f} x "
        f"| {cost.peak_bytes / MIB:.0f} MiB | {beside(stated[0], true[0])} | {beside(stated[1], true[1])} |"
    )


def compare(model_id: str, commands: dict[str, Command], programs: Sequence[Program], true: Stated) -> None:
    """Ask each once what it states, time those that answer, and print the table of the model."""
    answers = {program.name: statement(program, commands[program.name]) for program in programs}
    told = {name: answer for name, answer in answers.items() if not isinstance(answer, str)}
    if PLAN not in told:
        sys.exit(f"ullage has no plan of {model_id}: {answers[PLAN]}")
    costs = medians({name: commands[name] for name in told}, RUNS)
    print(f"\n**{model_id}** (weights {true[0]:,} B, cache {true[1]:,.0f} B a token)\n")
    print("| program | wall | wall ratio | CPU ratio | peak RSS | weights stated | cache a token stated |\n|---|--:|--:|--:|--:|--:|--:|")
    for name, answer in answers.items():
        print(f"| {name} | {answer} ||||||" if isinstance(answer, str) else row(name, costs[name], costs[PLAN], answer, true))


def main() -> None:
    """Print one table a model."""
    start = time.monotonic()
    versions = {program.name: installed(program.package) for program in PROGRAMS if program.package}
    programs = [program for program in PROGRAMS if not program.package or versions[program.name]]
    print(", ".join(f"{name} {version or 'is missing'}" for name, version in versions.items()) + f"; {conditions()}, median of {RUNS}")
    with tempfile.TemporaryDirectory() as made, hub(Path(made)) as reached:
        folder = Path(made)
        for model_id in MODELS:
            if time.monotonic() - start > LIMIT_S:
                print(f"\n{model_id} and what follows is left out: {LIMIT_S:.0f} s have passed")
                break
            commands: dict[str, Command] = {}
            for program in programs:
                around = surroundings(str(folder / "compiled"), **reached)
                if program.proxy:
                    around |= {"HTTPS_PROXY": program.proxy, "https_proxy": program.proxy}
                commands[program.name] = (program.words(model_id), around)
            compare(model_id, commands, programs, truth(folder, model_id))
    print(f"\n{time.monotonic() - start:.0f} s in all; load average {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
