"""How fast a plan is, as ratios within one run: medians, with the load average, as these machines are shared and noisy.

Cold start against ``python -c pass``; a plan in a warm process; 10,000 candidate cases on two processes; peak resident memory; and, where
they are installed (``--others``), hf-mem and kvfit on the same models served from a loopback server.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from ullage import formats, wire
from ullage.architectures import read
from ullage.catalog import models
from ullage.domain.case import Case, Model, Settings
from ullage.domain.checkpoint import Role
from ullage.domain.hyperparameters import Hyperparameters
from ullage.domain.machine import Device, Machine
from ullage.domain.placement import Parallel
from ullage.engines import find
from ullage.planning.fit import evaluate
from ullage.planning.search import solve

RUNS, CANDIDATES = 15, 10_000
COMMAND = ("-m", "ullage", "plan", "Qwen3-8B", "--gpu", "H100-80GB", "--json")
MIB = 1 << 20


def median_s(act: Callable[[], object], runs: int = RUNS) -> float:
    """Median wall seconds of ``act``."""
    seen = []
    for _ in range(runs):
        start = time.perf_counter()
        act()
        seen.append(time.perf_counter() - start)
    return statistics.median(seen)


def started(*words: str) -> Callable[[], object]:
    """A whole process of this Python."""
    return lambda: subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)


def question(name: str, devices: int = 1, tensor: int = 1) -> Case:
    """A bundled model on 80 GB cards."""
    found = models.lookup(name)
    if found is None:
        raise SystemExit(f"{name} is not bundled")
    config = Hyperparameters(wire.loads(models.configuration(found)))  # type: ignore[arg-type]
    blueprint = read(config)
    model = Model(
        name=name,
        source="bundled",
        architecture=blueprint.architecture,
        checkpoint=formats.checkpoint(blueprint, None),
        parameters=sum(tensor.elements for tensor in blueprint.tensors if tensor.role is not Role.MTP),
    )
    cards = tuple(Device(id=f"gpu{i}", kind="cuda", name="H100", total_bytes=79 << 30, compute_capability=(9, 0)) for i in range(devices))
    return Case(
        model=model,
        engine="vllm",
        version=find("vllm").profile.default,
        machine=Machine(devices=cards),
        parallel=Parallel(tensor=tensor),
        settings=Settings(),
    )


def half(part: int) -> int:
    """Every second of the candidate cases: lengths, batches and fractions."""
    engine, base = find("vllm"), question("Qwen3-8B")
    fits = 0
    for index in range(part, CANDIDATES, 2):
        changed = base.with_settings(
            max_model_len=1024 + 16 * (index % 1000), max_num_seqs=16 + index // 1000 * 8, gpu_memory_utilization=0.80 + index % 15 / 100
        )
        fits += evaluate(engine, replace(changed, stated=frozenset())).verdict == "fits"
    return fits


def search() -> float:
    """Wall seconds of all candidates over two processes."""
    start = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(half, (0, 1)))
    return time.perf_counter() - start


def main() -> None:
    """Print one line a figure."""
    print(f"load average {os.getloadavg()[0]:.2f}, {os.cpu_count()} processors, Python {sys.version.split()[0]}, median of {RUNS}")
    empty, cold = median_s(started("-c", "pass")), median_s(started(*COMMAND))
    print(f"cold start: plan {cold * 1e3:.0f} ms / python -c pass {empty * 1e3:.0f} ms = {cold / empty:.1f} x")
    for name, devices in (("Qwen3-8B", 1), ("Llama-3.1-70B", 8), ("DeepSeek-V3", 8)):
        engine, asked = find("vllm"), question(name, devices, devices)
        evaluate(engine, asked)
        one = median_s(lambda engine=engine, asked=asked: evaluate(engine, asked), 200)  # type: ignore[misc]
        best = median_s(lambda engine=engine, asked=asked: solve(engine, replace(asked, parallel=Parallel())), 20)  # type: ignore[misc]
        print(f"warm, {name} on {devices}: one case {one * 1e3:.2f} ms, solved with remedies {best * 1e3:.2f} ms")
    print(f"{CANDIDATES:,} candidate cases on two processes: {search():.2f} s")
    subprocess.run([sys.executable, *COMMAND], check=True, stdout=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"peak resident memory of any of these processes: {peak / MIB:.0f} MiB")


if __name__ == "__main__":
    main()
