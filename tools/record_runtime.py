"""Measures what a process of the runtime takes beside weights, cache and step, and stores it: tests/data/runtime_process.json.

Each run is a process with a server's libraries and tokeniser that reads one prompt. Before it: the process, less the weights and the
vocabulary as planned. At its peak: what the steps took beyond everything that is planned. Run it on a processor, where nothing else is
counted: ``tools/record_runtime.py DIRECTORY [FILE.gguf ...]``.
"""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import torch

from ullage.commands.model import read_model
from ullage.domain.case import Case, Settings
from ullage.domain.ledger import Phase, Purpose
from ullage.domain.machine import Device, Machine
from ullage.domain.workload import Workload
from ullage.engines.runtime import ENGINE
from ullage.engines.runtime.process import vocabulary
from ullage.engines.runtime.weights import how, resident
from ullage.units import GiB
from ullage.world.real import RealModels

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "tests" / "data" / "runtime_process.json"
RUNS = ((2048, 1024),)  # tokens, chunk: a prompt that meets all of a small model's token table


FORMS = ("native", "int8", "int4")


def seen(path: str, tokens: int, chunk: int, weights: str) -> dict[str, int]:
    """What one process took."""
    script = ROOT / "tools" / "runtime_reading.py"
    words = [sys.executable, str(script), path, "bfloat16", str(tokens), str(chunk), weights]
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return dict(json.loads(done.stdout))


def planned(path: str, tokens: int, chunk: int, weights: str) -> tuple[int, int]:
    """What the plan says of all but the process: before the first step, and at most."""
    device = Device(id="cpu", kind="cpu", name="CPU", total_bytes=64 * GiB)
    case = ENGINE.resolve(
        Case(
            model=read_model(path, RealModels(offline=True)).model,
            engine="runtime",
            version=ENGINE.profile.default,
            machine=Machine(devices=(device,)),
            workload=Workload(context_tokens=tokens + 1),
            settings=Settings.of({"chunk": chunk, "dtype": "bfloat16", "weights": weights}),
        )
    )
    found = ENGINE.ledger(case)

    def of(purpose: Purpose, *phases: Phase) -> int:
        return sum(entry.amount.expected for entry in found.entries if entry.purpose is purpose and entry.phase in phases)

    whole = found.at("cpu", Phase.PREFILL).expected
    kept, words = resident(case.model, how(case)), vocabulary(path, case.model.architecture.vocab_size).expected
    before = kept.nbytes - (kept.table if kept.mapped else 0) + words
    return before, whole - of(Purpose.RUNTIME, Phase.RESIDENT, Phase.PREFILL) + words


def main() -> None:
    """Every model named, every length."""
    runs = []
    for path, weights in product(sys.argv[1:], FORMS):
        for tokens, chunk in RUNS:
            found = seen(path, tokens, chunk, weights)
            before, most = planned(path, tokens, chunk, weights)
            process = found["ready"] - before
            asked = {"model": Path(path).name, "weights": weights, "tokens": tokens, "chunk": chunk}
            measured: dict[str, object] = {"ready_bytes": found["ready"], "peak_bytes": found["peak"]}
            runs.append({**asked, **measured, "process_bytes": process, "stepping_bytes": found["peak"] - most - process})
            print(runs[-1], flush=True)
    record = {
        "name": "runtime-process-cpu",
        "at": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "runs": runs,
        # measured by themselves: in a process with nothing else, and as the most that loading took beside what stays
        **{part: json.loads(RECORD.read_text())[part] for part in ("vocabularies", "readings")},
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
