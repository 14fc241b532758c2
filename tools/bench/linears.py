"""What the linear layers of a model take in each form: milliseconds for a step of 1, 8 and 512 rows, bytes, and where kernels stop to pay.

Random weights in SmolLM2-135M's shapes unless told otherwise; every matrix is its own memory, as in a model, so that caches do not flatter.
Best of several rounds, the forms in turn. Run it with OMP_WAIT_POLICY=passive where other programs want the processor too.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ullage.engines.runtime.weight_forms import head_word
from ullage.runtime.linear import bytewise, int4
from ullage.runtime.linear.form import Linear
from ullage.runtime.linear.forms import Forms

FORMS = ("plain", "native", "int8", "fp8", "int4")
ROWS = (1, 8, 512)
CROSSOVER_ROWS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)
Step = Callable[[int], None]


class Unpacked(Linear):
    """PyTorch's own product, to compare with."""

    def __init__(self, weight: Tensor) -> None:
        self._weight, self.nbytes, self.out_features = weight, weight.nbytes, weight.shape[0]

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, in) to (rows, out)."""
        return torch.nn.functional.linear(x, self._weight)


def weight(shape: tuple[int, int]) -> Tensor:
    """Random numbers of the size that weights have."""
    return (torch.randn(shape) * shape[1] ** -0.5).bfloat16()


def made(form: str, shapes: list[tuple[int, int]], head: tuple[int, int]) -> tuple[list[Linear], Linear, int]:
    """The layers, the head, and the bytes of the scratch they share."""
    if form == "plain":
        return [Unpacked(weight(shape)) for shape in shapes], Unpacked(weight(head)), 0
    forms, ends = Forms(form), Forms(head_word(form))
    return [forms(weight(shape)) for shape in shapes], ends(weight(head)), forms.scratch_bytes + ends.scratch_bytes


def step(layers: list[Linear], head: Linear, inputs: dict[tuple[int, int], Tensor], shapes: list[tuple[int, int]]) -> Step:
    """One pass through all layers; a prefill wants the logits of its last row alone."""

    def run(rows: int) -> None:
        for layer, shape in zip(layers, shapes, strict=True):
            layer(inputs[rows, shape[1]])
        head(inputs[rows if rows < max(ROWS) else 1, shapes[0][1]])

    return run


def seconds(run: Callable[[], object]) -> float:
    """One run's time."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def table(options: argparse.Namespace) -> None:
    """Milliseconds and bytes of each form."""
    hidden, wide = options.hidden, options.intermediate
    shapes = [(options.qkv, hidden), (hidden, hidden), (2 * wide, hidden), (hidden, wide)] * options.layers
    inputs = {(rows, width): torch.randn(rows, width).bfloat16() for rows in ROWS for width in {shape[1] for shape in shapes}}
    print("| form | " + " | ".join(f"{rows} rows, ms" for rows in ROWS) + " | weights, MB | scratch, MB |")
    print("|---" * (len(ROWS) + 3) + "|")
    built = {form: made(form, shapes, (options.vocabulary, hidden)) for form in options.forms}
    best = {(form, rows): float("inf") for form in built for rows in ROWS}
    for turn in range(options.rounds + 1):
        for form, (layers, head, _) in built.items():
            run = step(layers, head, inputs, shapes)
            for rows in ROWS:
                took = seconds(lambda rows=rows, run=run: run(rows))  # type: ignore[misc]
                best[form, rows] = min(best[form, rows], took) if turn else best[form, rows]  # the first round warms up
    for form, (layers, head, scratch) in built.items():
        nbytes = sum(layer.nbytes for layer in (*layers, head))
        times = " | ".join(f"{best[form, rows] * 1e3:.1f}" for rows in ROWS)
        print(f"| {form} | {times} | {nbytes / 1e6:.1f} | {scratch / 1e6:.1f} |")


def crossover(options: argparse.Namespace) -> None:
    """Where multiplying by a kernel on codes takes as long as unpacking and multiplying."""
    shapes = [(2 * options.intermediate, options.hidden), (options.hidden, options.intermediate)] * 8
    for form, module in (("int8", bytewise), ("int4", int4)):
        forms = Forms(form)
        kept = module.FEW_ROWS
        ways: dict[str, list[Linear]] = {}
        for word, few in (("kernel", max(CROSSOVER_ROWS)), ("unpacked", 0)):
            vars(module)["FEW_ROWS"] = few
            ways[word] = [forms(weight(shape)) for shape in shapes]
        vars(module)["FEW_ROWS"] = kept
        print(f"{form}, ms for {len(shapes)} matrices (the constant is {kept} rows)")
        for rows in CROSSOVER_ROWS:
            inputs = {width: torch.randn(rows, width).bfloat16() for _, width in shapes}
            times = dict.fromkeys(ways, float("inf"))
            for turn in range(options.rounds + 1):
                for word, layers in ways.items():
                    took = seconds(lambda layers=layers, inputs=inputs: each(layers, shapes, inputs))  # type: ignore[misc]
                    times[word] = min(times[word], took * 1e3) if turn else times[word]
            print(f"  {rows:4} rows: kernel {times['kernel']:7.2f}  unpacked {times['unpacked']:7.2f}", flush=True)


def each(layers: list[Linear], shapes: list[tuple[int, int]], inputs: dict[int, Tensor]) -> None:
    """One pass through all of them."""
    for layer, shape in zip(layers, shapes, strict=True):
        layer(inputs[shape[1]])


def main() -> None:
    """Print the table, or the crossover."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crossover", action="store_true", help="where the kernels stop to pay, instead of the table")
    for name, default in (("layers", 30), ("hidden", 576), ("intermediate", 1536), ("qkv", 960), ("vocabulary", 49152), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    options = parser.parse_args()
    torch.manual_seed(0)
    about = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(":")[1].strip() for line in about if line.startswith("model name")), "unknown")
    spinning = os.environ.get("OMP_WAIT_POLICY", "default")
    load = f"load {os.getloadavg()[0]:.1f}"
    print(f"{processor}, {torch.get_num_threads()} threads, torch {torch.__version__}, OMP_WAIT_POLICY {spinning}, {load}\n")
    with torch.inference_mode():
        (crossover if options.crossover else table)(options)
    print(f"\nload after {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
