"""``make demo``: three plans on real input. This machine, and the machines of two published out-of-memory cases."""

import subprocess
import sys

PLANS = (
    (
        "A bundled model on this very machine",
        ("plan", "SmolLM2-135M-Instruct", "--engine", "transformers", "--gpu", "local", "--context", "2048"),
    ),
    (
        "Case S2: Qwen1.5-7B-Chat on a 24 GB card with the vLLM of April 2024. Its cache held 7344 tokens: why, and what helps?",
        (
            *("check", "--gpu", "RTX 3090", "--total-memory", "23.69GiB", "--engine-version", "0.4.0", "--"),
            *("python", "-m", "vllm.entrypoints.openai.api_server", "--model", "Qwen1.5-7B-Chat"),
        ),
    ),
    (
        "Case S0: a million-token model on 8 x H800, out of memory at 960,000 tokens. What the engine's own sizing does not see",
        (
            *("check", "--gpu", "8xH800-80GB", "--engine-version", "0.10.2", "--context", "960000", "--"),
            *("vllm", "serve", "Qwen2.5-14B-Instruct-1M", "--tensor-parallel-size", "8", "--max-model-len", "1010000"),
            *("--enable-chunked-prefill", "--max-num-batched-tokens", "131072", "--enforce-eager", "--max-num-seqs", "1"),
            *("--gpu-memory-utilization", "0.95"),
        ),
    ),
)
EXPECTED = (0, 1)  # it fits, or it is shown not to


def main() -> int:
    """Run every plan and stop at the first that could not be answered."""
    for title, words in PLANS:
        line = "ullage " + " ".join(f'"{word}"' if " " in word else word for word in words)
        print(f"\n# {title}\n$ {line}\n", flush=True)
        code = subprocess.run([sys.executable, "-m", "ullage", *words], check=False).returncode
        if code not in EXPECTED:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
