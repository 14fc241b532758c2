"""vLLM's build for the CPU, in this process, eager, without its prefix cache."""

import os

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

import torch
from _task import Run, main


def start(model: str, longest: int) -> Run:
    """One engine with 2 GiB of cache."""
    torch.cpu._init_amx()  # noqa: SLF001 - without it bfloat16 dies of an illegal instruction in this process
    from vllm import LLM, SamplingParams  # noqa: PLC0415 - after AMX is asked for

    engine = LLM(
        model,
        skip_tokenizer_init=True,
        dtype="bfloat16",
        max_model_len=min(longest, 8192),
        enforce_eager=True,
        enable_prefix_caching=False,
        kv_cache_memory_bytes=2 << 30,
        disable_log_stats=True,
    )

    def run(prompts: list[list[int]], tokens: int) -> None:
        asked = SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True, detokenize=False)
        engine.generate([{"prompt_token_ids": prompt} for prompt in prompts], asked, use_tqdm=False)

    return run


if __name__ == "__main__":
    main(start)
