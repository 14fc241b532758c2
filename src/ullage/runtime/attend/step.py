"""One step of work: rows of several sequences packed into one batch, and where each of them reads and writes the cache.

Rows of a prompt stand one after another; sequences that add a single token stand together, so that they are attended to in few calls.
Everything that is the same for all layers is worked out here, once.
"""

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor

from ullage.domain.architecture import DualChunk
from ullage.engines.runtime.pages import Group
from ullage.frozen import dataclass, replace
from ullage.runtime.attend.lanes import Lane, Together, grouped
from ullage.runtime.attend.segments import Angle, Segment, blocks, full_segments, key_position, query_position, window_segments
from ullage.runtime.cache.pool import Pool
from ullage.runtime.cache.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """``tokens`` of one sequence, the first of them at position ``start``; its tables have room for them.

    ``length`` is the length that sharpens logits under dual chunk attention: the prompt's in prefill, the sequence's afterwards.
    """

    tables: tuple[Table, ...]
    tokens: tuple[int, ...]
    start: int
    length: int
    wants_logits: bool

    @property
    def end(self) -> int:
        """The position after the last token."""
        return self.start + len(self.tokens)


@dataclass(frozen=True, slots=True)
class Block:
    """Queries of one piece that see the same segments: rows of the batch, and runs of slots for each segment but the diagonal."""

    rows: slice
    start: int
    segments: tuple[tuple[Segment, tuple[tuple[int, int], ...]], ...]
    sharpness: float


@dataclass(frozen=True, slots=True)
class GroupStep:
    """A step as one group of layers sees it."""

    blocks: tuple[Block, ...]
    together: tuple[Together, ...]  # single rows that one call attends to
    lanes: tuple[Lane, ...]  # the other single rows
    writes: tuple[tuple[slice, int], ...]  # rows of the batch and the first slot of the run they go to
    scattered: tuple[slice, Tensor] | None  # the single rows, and the slot of each

    def single_rows(self) -> "GroupStep":
        """The same with nothing but its single rows, counted from the first of them."""
        first = self.scattered[0].start if self.scattered else 0
        together = tuple(part.moved(first) for part in self.together)
        return replace(self, blocks=(), together=together, lanes=tuple(replace(lane, row=lane.row - first) for lane in self.lanes))


class Step:
    """The packed batch. ``pieces`` with one token come last."""

    def __init__(
        self, pieces: Sequence[Piece], pool: Pool, *, dual: DualChunk | None, sharp_from: int | None, device: torch.device
    ) -> None:
        self.pieces = sorted(pieces, key=lambda piece: len(piece.tokens) == 1)
        self.pool = pool
        self.dual = dual
        self._sharp_from = sharp_from
        self._device = device
        tokens = [token for piece in self.pieces for token in piece.tokens]
        self.token_ids = torch.tensor(tokens, dtype=torch.long, device=device)
        self.positions = torch.tensor(
            [at for piece in self.pieces for at in range(piece.start, piece.end)], dtype=torch.long, device=device
        )
        self.groups = tuple(self._group(index, group) for index, group in enumerate(pool.groups))
        ends, row = [], 0
        for piece in self.pieces:
            row += len(piece.tokens)
            if piece.wants_logits:
                ends.append(row - 1)
        self.logit_rows = torch.tensor(ends, dtype=torch.long, device=device)

    @property
    def wanting(self) -> list[Piece]:
        """The pieces that logits come out for, in their order."""
        return [piece for piece in self.pieces if piece.wants_logits]

    def key_positions(self) -> Tensor:
        """The position each row's key (and its own query) is turned to."""
        return self.positions if self.dual is None else self.positions % self.dual.step_tokens

    def query_positions(self, rows: slice, angle: Angle) -> Tensor:
        """The position the queries of some rows are turned to for keys of another chunk."""
        found = [query_position(position, angle, self.dual) for position in self.positions[rows].tolist()]
        return torch.tensor(found, dtype=torch.long, device=self._device)

    def _sharpness(self, piece: Piece) -> float:
        if self._sharp_from is None:
            return 1.0
        return max(1.0, 0.1 * log(piece.length / self._sharp_from) + 1.0) ** 2

    def _group(self, index: int, group: Group) -> GroupStep:
        device = self.pool.devices[group.device]
        found: list[Block] = []
        lanes: list[Lane] = []
        writes: list[tuple[slice, int]] = []
        slots: list[int] = []
        row = 0
        for piece in self.pieces:
            table = piece.tables[index]
            if len(piece.tokens) == 1:
                slots.append(table.slot(piece.start))
                lanes.append(Lane(row, piece.start, self._lane_segments(table, group, piece), self._sharpness(piece)))
                row += 1
                continue
            writes.extend(_writes(table, piece, row))
            for start, end in blocks(piece.start, piece.end, self.dual, group.window):
                first = row + start - piece.start
                segments = window_segments(start, end, group.window) if group.window else full_segments(start, end, self.dual)
                placed = tuple((part, () if part.diagonal else tuple(table.runs(part.start, part.end))) for part in segments)
                found.append(Block(slice(first, first + end - start), start, placed, self._sharpness(piece)))
            row += len(piece.tokens)
        scattered = (slice(row - len(slots), row), torch.tensor(slots, dtype=torch.long, device=device)) if slots else None
        together, alone = grouped(lanes, self.pool.arenas[index].occupancy.pages * self.pool.page_tokens, device)
        return GroupStep(tuple(found), together, alone, tuple(writes), scattered)

    def _lane_segments(self, table: Table, group: Group, piece: Piece) -> tuple[tuple[Segment, tuple[tuple[int, int], ...]], ...]:
        """A single query sees what is before it and itself, which is in the cache when it attends."""
        at = piece.start
        if group.window or self.dual is None or at < self.dual.step_tokens:
            first = group.first_kept(at)
            return ((Segment(first, at + 1), tuple(table.runs(first, at + 1))),)
        border = at - key_position(at, self.dual)
        past = (part for part in full_segments(at, at + 1, self.dual) if not part.diagonal and part.end <= border)
        segments = (Segment(border, at + 1), *past)
        return tuple((part, tuple(table.runs(part.start, part.end))) for part in segments)


def _writes(table: Table, piece: Piece, row: int) -> list[tuple[slice, int]]:
    found = []
    for slot, count in table.runs(piece.start, piece.end):
        found.append((slice(row, row + count), slot))
        row += count
    return found
