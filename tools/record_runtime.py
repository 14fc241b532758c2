"""Measures what a process of the runtime takes beside weights, cache and step, and stores it: tests/data/runtime_process.json.

Each run is a process that reads one prompt; its peak less what the plan says of everything else is the process itself. Run it on a
processor, where nothing else is counted: ``tools/record_runtime.py DIRECTORY [FILE.gguf ...]``.
"""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

from ullage.commands.model import read_model
from ullage.domain.case import Case, Settings
from ullage.domain.ledger import Phase, Purpose
from ullage.domain.machine import Device, Machine
from ullage.domain.workload import Workload
from ullage.engines.runtime import ENGINE
from ullage.units import GiB
from ullage.world.real import RealModels

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "tests" / "data" / "runtime_process.json"
RUNS = ((512, 256), (2048, 512), (4096, 1024))  # tokens, chunk


def seen(path: str, tokens: int, chunk: int) -> dict[str, int]:
    """What one process took."""
    script = ROOT / "tools" / "runtime_reading.py"
    words = [sys.executable, str(script), path, "bfloat16", str(tokens), str(chunk), "native"]
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return dict(json.loads(done.stdout))


def beside(path: str, tokens: int, chunk: int) -> int:
    """What the plan says of all but the process."""
    device = Device(id="cpu", kind="cpu", name="CPU", total_bytes=64 * GiB)
    case = ENGINE.resolve(
        Case(
            model=read_model(path, RealModels(offline=True)).model,
            engine="runtime",
            version=ENGINE.profile.default,
            machine=Machine(devices=(device,)),
            workload=Workload(context_tokens=tokens + 1),
            settings=Settings.of({"chunk": chunk, "dtype": "bfloat16"}),
        )
    )
    planned = ENGINE.ledger(case)
    process = sum(entry.amount.expected for entry in planned.entries if entry.purpose is Purpose.RUNTIME and entry.phase is Phase.RESIDENT)
    return planned.at("cpu", Phase.PREFILL).expected - process


def main() -> None:
    """Every model named, every length."""
    runs = []
    for path in sys.argv[1:]:
        for tokens, chunk in RUNS:
            found = seen(path, tokens, chunk)
            process = found["peak"] - beside(path, tokens, chunk)
            runs.append({"model": Path(path).name, "tokens": tokens, "chunk": chunk, "peak_bytes": found["peak"], "process_bytes": process})
            print(runs[-1])
    record = {
        "name": "runtime-process-cpu",
        "at": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "runs": runs,
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
