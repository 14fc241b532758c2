"""A small model with experts, ours beside Transformers' in one process: a prompt of 512 tokens, and one more token.

OMP_WAIT_POLICY=passive python tools/bench/experts.py [ROUNDS]     # needs transformers; best of the rounds, and the ratio of the bests
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
PROMPT = [(7 * index * index + 3 * index + 11) % 320 for index in range(512)]
SHAPE = {
    "hidden_size": 512,
    "num_experts": 32,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 384,
    "head_dim": 64,
    "mlp_only_layers": [],
}


def ours(path: Path, dtype: torch.dtype) -> tuple[Callable[[], object], Callable[[], object]]:
    """The prompt, and a token after it."""
    from tests.runtime.stepping import Stepper  # noqa: PLC0415 - after the path is set

    from ullage.runtime.load import load  # noqa: PLC0415 - as above

    loaded = load(str(path), dtype=dtype, device=torch.device("cpu"))

    def prompt() -> Stepper:
        stepper = Stepper(loaded)
        stepper.logits(PROMPT, chunk=512)
        return stepper

    kept = prompt()
    return prompt, lambda: kept.step([kept.piece([*PROMPT, 5], 512, 513, 513)])


def theirs(path: Path, dtype: torch.dtype) -> tuple[Callable[[], object], Callable[[], object]]:
    """The same in Transformers."""
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - what is compared with

    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    ids = torch.tensor([PROMPT])

    def prompt() -> Any:
        return model(ids, use_cache=True).past_key_values

    cache = prompt()

    def token() -> None:
        model(torch.tensor([[5]]), past_key_values=cache, use_cache=True)
        cache.crop(-1)

    return prompt, token


def best(runs: tuple[Callable[[], object], ...], rounds: int) -> list[float]:
    """Seconds of the fastest round of each, taking turns."""
    found: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds + 1):
        for times, run in zip(found, runs, strict=True):
            start = perf_counter()
            run()
            times.append(perf_counter() - start)
    return [min(times[1:]) for times in found]


def main() -> None:
    """Print milliseconds and ratios."""
    from tests.runtime.tiny import TINY_CONFIGS, tiny_model  # noqa: PLC0415 - after the path is set

    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    wait = os.environ.get("OMP_WAIT_POLICY", "default")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}, {wait} wait")
    with TemporaryDirectory() as folder, torch.inference_mode():
        path = tiny_model(Path(folder), {**TINY_CONFIGS["qwen3_moe"], **SHAPE})
        for dtype in (torch.float32, torch.bfloat16):
            for what, mine, other in zip(("512 tokens", "1 token"), ours(path, dtype), theirs(path, dtype), strict=True):
                one, two = best((mine, other), rounds)
                print(f"{dtype!s:15} {what:11} ours {one * 1e3:8.1f} ms   transformers {two * 1e3:8.1f} ms   {two / one:5.2f}x")


if __name__ == "__main__":
    main()
