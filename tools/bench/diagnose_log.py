"""How fast a long log is diagnosed, and in how much memory: logs of serving that end in a death, generated here.

Processor time of the whole command, by which a shared machine disturbs least; beside it that of looking at every line, on the log's end.
``python tools/bench/diagnose_log.py [MEGABYTES]``, 100 where nothing is said. Beside logs of serving, what applications write (noise.py).
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from measured import MIB, conditions, cost, surroundings
from noise import NOISE

MB = 1_000_000
DIAGNOSE = "import sys; from ullage import cli; sys.exit(cli.main(('diagnose', sys.argv[1], '--offline')) != 1)"  # 1: there is a cause
DEATH = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.52 GiB of which 1.00 GiB is "
    "free. Of the allocated memory 21.00 GiB is allocated by PyTorch, and 300.00 MiB is reserved by PyTorch but unallocated."
)
VLLM = "(EngineCore_0 pid=90) ERROR 11-23 08:12:30 [core.py:700] "
FRAME = 'File "/usr/lib/python3/site-packages/{}", line 2233, in {}'


def _stamp(at: int) -> str:
    return f"{21 + at // 1_728_000:02d} {at // 72_000 % 24:02d}:{at // 1200 % 60:02d}:{at // 20 % 60:02d}"


def _access(random: Random, status: str) -> str:
    place = f"10.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(256)}:{random.randrange(1024, 65536)}"
    return f'INFO:     {place} - "POST /v1/chat/completions HTTP/1.1" {status}'


def vllm(random: Random) -> Iterator[str]:
    """Answers, ids of requests, and the statistics of every few seconds."""
    yield "INFO 11-21 08:00:00 [api_server.py:1834] vLLM API server version 0.10.2"
    at = 0
    while True:
        at += 1
        tag, stamp = "(APIServer pid=77) ", _stamp(at)
        if at % 40 == 0:
            used, hits = random.random() * 100, random.random() * 100
            yield (
                f"{tag}INFO 11-{stamp} [loggers.py:123] Engine 000: Avg prompt throughput: {random.random() * 9000:.1f} tokens/s, "
                f"Avg generation throughput: {random.random() * 2000:.1f} tokens/s, Running: {random.randrange(256)} reqs, "
                f"Waiting: {random.randrange(40)} reqs, GPU KV cache usage: {used:.1f}%, Prefix cache hit rate: {hits:.1f}%"
            )
        yield tag + _access(random, random.choices(("200 OK", "400 Bad Request", "500 Internal Server Error"), (96, 3, 1))[0])
        if at % 12 == 0:
            yield f"{tag}INFO 11-{stamp} [async_llm.py:321] Added request chatcmpl-{random.getrandbits(128):032x}."


def journal(random: Random) -> Iterator[str]:
    """The same of three ranks on eight machines, as the journal writes it."""
    for line in vllm(random):
        rank = random.choice(("APIServer pid=77", "Worker_TP0 pid=91", "Worker_TP1 pid=92"))
        yield f"Nov 21 08:00:{random.randrange(60):02d} node{random.randrange(8)} vllm[2211]: {line.replace('APIServer pid=77', rank)}"


def prompts(random: Random) -> Iterator[str]:
    """The same where each request is written down with its prompt."""
    words = [word for word in Path(__file__).read_text(encoding="utf-8").split() if word.isalpha()]
    for line in vllm(random):
        yield line
        said = " ".join(random.choice(words) for _ in range(random.randrange(10, 200)))
        yield f"INFO 11-21 08:00:00 [logger.py:43] Received request chatcmpl-{random.getrandbits(128):032x}: prompt: '{said}', params: (n)"


def sglang(random: Random) -> Iterator[str]:
    """Every batch of two ranks."""
    yield "[2026-11-21 08:00:00] server_args=ServerArgs(model_path='Qwen/Qwen3-8B', tp_size=2, mem_fraction_static=0.9)"
    at = 0
    while True:
        at += 1
        begin = f"[2026-11-{_stamp(at)}"
        running, queued = random.randrange(200), random.randrange(20)
        yield (
            f"{begin} TP{at % 2}] Decode batch. #running-req: {running}, #token: {random.randrange(200_000)}, token usage: "
            f"{random.random():.2f}, cuda graph: True, gen throughput (token/s): {random.random() * 3000:.2f}, #queue-req: {queued}, "
        )
        yield (
            f"{begin} TP{at % 2}] Prefill batch. #new-seq: {random.randrange(1, 9)}, #new-token: {random.randrange(8192)}, #cached-token: "
            f"{random.randrange(20_000)}, token usage: {random.random():.2f}, #running-req: {running}, #queue-req: {queued}, "
        )
        yield f"{begin}] {_access(random, '200 OK')}"


KINDS: dict[str, tuple[Callable[[Random], Iterator[str]], str, str]] = {
    "vLLM": (vllm, VLLM, FRAME.format("vllm/v1/worker/gpu_model_runner.py", "execute_model")),
    "vLLM, three ranks in a journal": (journal, f"Nov 23 08:12:30 node1 vllm[2211]: {VLLM}", FRAME.format("vllm/x.py", "execute_model")),
    "vLLM with prompts": (prompts, VLLM, FRAME.format("vllm/v1/worker/gpu_model_runner.py", "execute_model")),
    "SGLang": (sglang, "", FRAME.format("sglang/srt/model_executor/model_runner.py", "forward_extend")),
    **{name: (lines, VLLM, FRAME.format("vllm/v1/worker/gpu_model_runner.py", "execute_model")) for name, lines in NOISE.items()},
}


def written(path: Path, kind: str, size: int) -> None:
    """Write a log of so many bytes that ends in a death."""
    lines, begin, frame = KINDS[kind]
    left = size
    with path.open("w", encoding="utf-8") as file:
        for line in lines(Random(1)):  # noqa: S311 - no secret
            left -= file.write(f"{line}\n")
            if left < 0:
                break
        file.writelines(f"{begin}{line}\n" for line in ("Traceback (most recent call last):", f"  {frame}", "    return run()", DEATH))


def main(size: int) -> None:
    """Print one line a kind of log."""
    print(f"{conditions()}; logs of {size / MB:.0f} MB", flush=True)
    with tempfile.TemporaryDirectory() as place:
        around = surroundings(place)
        path = Path(place) / "log"
        compared = (sys.executable, str(Path(__file__).with_name("looked_at.py")), str(path))
        for kind in KINDS:
            written(path, kind, size)
            seen = cost((sys.executable, "-c", DIAGNOSE, str(path)), around)
            print(
                f"{kind}: {size / MB / seen.processor_s:.0f} MB/s of processor time, peak {seen.peak_bytes / MIB:.0f} MiB; ",
                end="",
                flush=True,
            )
            subprocess.run(compared, env=around, check=True)
    print(conditions())


if __name__ == "__main__":
    main(round(float(sys.argv[1]) * MB) if len(sys.argv) > 1 else 100 * MB)
