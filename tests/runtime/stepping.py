"""Models run step by step, without an engine: any chunk, any page, pages in any disorder, any company."""

from collections.abc import Sequence
from itertools import pairwise
from random import Random

import torch

from ullage.runtime.attend.step import Piece, Step
from ullage.runtime.cache.pool import Pool
from ullage.runtime.cache.table import Table
from ullage.runtime.load import Loaded


class Stepper:
    """A model over a cache whose pages a stranger's sequence may stand between (``scattered``: the seed of the disorder)."""

    def __init__(self, loaded: Loaded, *, page: int = 16, scattered: int | None = None, sequences: int = 1) -> None:
        self.loaded = loaded
        self.pool = Pool(
            loaded.groups,
            budget_bytes=1 << 40,
            page_tokens=page,
            lanes=1 if scattered is not None else 4,
            lane_tokens=4096,
            dtype=loaded.dtype,
            device=loaded.device,
        )
        self._draw = None if scattered is None else Random(scattered)  # noqa: S311 - disorder, no secret
        self._stranger, self._strange_tokens = self.pool.new_tables(), 0
        self.tables = [self.pool.new_tables() for _ in range(sequences)]

    def grow(self, tables: Sequence[Table], tokens: int) -> None:
        """Room for ``tokens`` tokens, the stranger taking a page here and there."""
        size = self.pool.page_tokens
        while self._draw and tables[0].missing(tokens):
            if self._draw.random() < 0.6:
                self._strange_tokens += size
                assert self.pool.grow(self._stranger, self._strange_tokens)
            assert self.pool.grow(tables, min(tables[0].reach + size, tokens))
        assert self.pool.grow(tables, tokens)

    def step(self, pieces: Sequence[Piece]) -> torch.Tensor:
        """The logits of every row, in the order of `Step`: pieces of one token come last."""
        for piece in pieces:
            self.grow(piece.tables, piece.end)
        loaded = self.loaded
        sharp_from = loaded.traits.length_temperature_from
        step = Step(pieces, self.pool, dual=loaded.architecture.dual_chunk, sharp_from=sharp_from, device=loaded.device)
        step.logit_rows = torch.arange(len(step.token_ids))
        with torch.inference_mode():
            found = loaded.decoder(step)
        for piece in pieces:
            self.pool.slide(piece.tables, piece.end)
        return found

    def piece(self, tokens: Sequence[int], start: int, end: int, length: int, *, sequence: int = 0) -> Piece:
        """Tokens ``start`` to ``end`` of a sequence."""
        return Piece(tables=self.tables[sequence], tokens=tuple(tokens[start:end]), start=start, length=length, wants_logits=True)

    def logits(self, tokens: Sequence[int], *, chunk: int, prompt: int | None = None) -> torch.Tensor:
        """Of all tokens: those of the prompt in chunks, the others one by one."""
        prompt = len(tokens) if prompt is None else prompt
        bounds = [*range(0, prompt, chunk), *range(prompt, len(tokens) + 1)]
        return torch.cat([self.step([self.piece(tokens, start, end, max(prompt, end))]) for start, end in pairwise(bounds)])

    def greedy(self, prompt: Sequence[int], count: int, *, chunk: int) -> tuple[list[int], torch.Tensor]:
        """New tokens, and the logits of the prompt's last one."""
        tokens = list(prompt)
        first = last = self.logits(prompt, chunk=chunk)[-1]
        for at in range(len(prompt), len(prompt) + count):
            tokens.append(int(last.argmax()))
            last = self.step([self.piece(tokens, at, at + 1, at + 1)])[-1]
        return tokens[len(prompt) :], first
