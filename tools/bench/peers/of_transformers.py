"""Transformers' ``generate`` on the CPU in bfloat16: ``--cache dynamic``, ``static`` or ``batching`` (its continuous batching)."""

import sys

import torch
import transformers
from _task import Run, main

transformers.logging.set_verbosity_error()


def start(model: str, longest: int) -> Run:
    """The model, and how it is asked."""
    kind = sys.argv[sys.argv.index("--cache") + 1] if "--cache" in sys.argv else "dynamic"
    made = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16, attn_implementation="sdpa")
    made.generation_config.eos_token_id = None
    config = transformers.GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0)

    def generate(prompts: list[list[int]], tokens: int) -> None:
        ids = torch.tensor(prompts)
        more = {"cache_implementation": "static"} if kind == "static" else {}
        made.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0, **more
        )

    def batch(prompts: list[list[int]], tokens: int) -> None:
        config.max_new_tokens = tokens
        made.generate_batch(inputs=prompts, generation_config=config)

    del longest
    return batch if kind == "batching" else generate


if __name__ == "__main__":
    main(start)
