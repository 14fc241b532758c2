"""llama.cpp through its Python binding, one sequence at a time, on a GGUF file."""

from typing import Any

import llama_cpp
from _task import Run, main


def start(model: str, longest: int) -> Run:
    """One context as long as is needed."""
    made: Any = llama_cpp.Llama(model, n_ctx=longest, n_batch=512, logits_all=False, verbose=False)

    def run(prompts: list[list[int]], tokens: int) -> None:
        for prompt in prompts:
            made.reset()
            made.eval(prompt)
            for _ in range(tokens - 1):
                made.eval([1000])

    return run


if __name__ == "__main__":
    main(start, batches=(1,))
