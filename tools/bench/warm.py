"""A plan inside a process that has already made one, and 10,000 candidate cases over two processes: medians, wall and processor time."""

import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from ullage import formats, wire
from ullage.architectures import read
from ullage.catalog import models
from ullage.domain.case import Case, Model
from ullage.domain.hyperparameters import Hyperparameters
from ullage.domain.machine import Device, Machine
from ullage.domain.placement import Parallel
from ullage.engines import find
from ullage.frozen import replace
from ullage.planning.fit import evaluate
from ullage.planning.search import solve

CANDIDATES, LIMIT_S = 10_000, 10.0
QUESTIONS = (("Qwen3-8B", 1), ("Llama-3.1-70B", 8), ("DeepSeek-V3", 8))


def medians_ms(act: Callable[[], object], runs: int) -> str:
    """Milliseconds of ``act``, wall and processor; fewer runs where they would take longer than the limit."""
    act()
    seen: list[tuple[float, float]] = []
    start = time.perf_counter()
    while len(seen) < runs and time.perf_counter() - start < LIMIT_S:
        wall, processor = time.perf_counter(), time.process_time()
        act()
        seen.append((time.perf_counter() - wall, time.process_time() - processor))
    wall_s, processor_s = (statistics.median(column) for column in zip(*seen, strict=True))
    return f"{wall_s * 1e3:.2f} ms (CPU {processor_s * 1e3:.2f})"


def question(name: str, devices: int = 1) -> Case:
    """A bundled model on 80 GB cards with tensor parallelism over all of them."""
    found = models.lookup(name)
    if found is None:
        raise SystemExit(f"{name} is not bundled")
    blueprint = read(Hyperparameters(wire.loads(models.configuration(found))))  # type: ignore[arg-type]
    model = Model(
        name=name,
        source="bundled",
        architecture=blueprint.architecture,
        checkpoint=formats.checkpoint(blueprint, None),
        parameters=blueprint.parameters,
    )
    cards = tuple(Device(id=f"gpu{i}", kind="cuda", name="H100", total_bytes=79 << 30, compute_capability=(9, 0)) for i in range(devices))
    engine = find("vllm")
    return Case(
        model=model, engine="vllm", version=engine.profile.default, machine=Machine(devices=cards), parallel=Parallel(tensor=devices)
    )


def half(part: int) -> int:
    """How many of every second candidate case fit: lengths, batches and fractions."""
    engine, base = find("vllm"), question("Qwen3-8B")
    fits = 0
    for index in range(part, CANDIDATES, 2):
        candidate = base.with_settings(
            max_model_len=1024 + 16 * (index % 1000), max_num_seqs=16 + index // 1000 * 8, gpu_memory_utilization=0.80 + index % 15 / 100
        )
        fits += evaluate(engine, candidate).verdict == "fits"
    return fits


def search() -> str:
    """Seconds of all candidates over two processes, wall and the processor time of both."""
    start = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        fits = sum(pool.map(half, (0, 1)))
    wall_s, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return f"{wall_s:.2f} s (CPU {used.ru_utime + used.ru_stime:.2f} over both; {fits:,} fit)"


def main() -> None:
    """Print one line a figure."""
    engine = find("vllm")
    for name, devices in QUESTIONS:
        asked = question(name, devices)
        one = medians_ms(lambda asked=asked: evaluate(engine, asked), 200)  # type: ignore[misc]
        best = medians_ms(lambda asked=asked: solve(engine, replace(asked, parallel=Parallel())), 20)  # type: ignore[misc]
        print(f"in-process, {name} on {devices}: one plan {one}, solved with remedies {best} [one plan under 2 ms]")
    print(f"{CANDIDATES:,} candidate cases on two processes: {search()} [under 3 s]")


if __name__ == "__main__":
    main()
