"""Attention of a packed batch over the cache: the segments of each block, and the lanes of single tokens together."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ullage.engines.runtime.transient import PIECE_KEYS
from ullage.frozen import dataclass
from ullage.runtime.attend.kernels import Merged, attend, attend_plainly
from ullage.runtime.attend.segments import Angle, Segment
from ullage.runtime.attend.step import Block, GroupStep, Lane

_TILE_KEYS = 1024  # of the plain kernel, which holds its logits
_TILE_ROWS = 256
_SIMILAR = 2  # lanes are attended to together when the longest is at most so many times the shortest


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """What a layer does to its logits."""

    scale: float
    softcap: float | None = None
    sinks: Tensor | None = None  # (heads,)


Turned = Callable[[slice, Angle], Tensor]  # queries of some rows at another angle, (rows, heads, dim)


class Walk:
    """One layer's attention over its keys and values, (kv_heads, slots, dim)."""

    def __init__(self, keys: Tensor, values: Tensor, scales: Scales) -> None:
        self._keys, self._values, self._scales = keys, values, scales

    def write(self, step: GroupStep, key: Tensor, value: Tensor | None) -> None:
        """Put the rows' keys and values, (rows, kv_heads, dim), where the step says."""
        for store, rows in ((self._keys, key), (self._values, value)):
            if rows is None:
                continue
            turned = rows.transpose(0, 1)
            for part, slot in step.writes:
                store[:, slot : slot + part.stop - part.start] = turned[:, part]
            if step.scattered is not None:
                part, slots = step.scattered
                store.index_copy_(1, slots, turned[:, part])

    def attend(self, step: GroupStep, query: Tensor, key: Tensor, value: Tensor, turned: Turned) -> Tensor:
        """(rows, heads, dim) of queries at their own angle, with the rows' own keys and values; the same shape comes out."""
        output = query.new_empty(query.shape[0], query.shape[1], value.shape[2])
        for block in step.blocks:
            output[block.rows] = self._block(block, query, key, value, turned)
        for lanes in _alike(step.lanes):
            rows = [lane.row for lane in lanes]
            part = slice(rows[0], rows[-1] + 1) if rows == list(range(rows[0], rows[-1] + 1)) else torch.tensor(rows)
            output[part] = self._lanes(lanes, query[part], turned)
        return output

    def _block(self, block: Block, query: Tensor, key: Tensor, value: Tensor, turned: Turned) -> Tensor:
        merged = Merged()
        scale = self._scales.scale * block.sharpness
        for segment, runs in block.segments:
            own = query[block.rows] if segment.angle is Angle.OWN else turned(block.rows, segment.angle)
            queries = own.transpose(0, 1)[None]
            if segment.diagonal:
                keys, values = key[block.rows].transpose(0, 1)[None], value[block.rows].transpose(0, 1)[None]
                self._piece(merged, queries, keys, values, scale, _Seen(block.start, segment.start, segment))
                continue
            at = segment.start
            for slot, count in _cut(runs):
                keys, values = self._keys[None, :, slot : slot + count], self._values[None, :, slot : slot + count]
                self._piece(merged, queries, keys, values, scale, _Seen(block.start, at, segment))
                at += count
        return merged.result(self._scales.sinks)[0].transpose(0, 1)

    def _piece(self, merged: Merged, query: Tensor, key: Tensor, value: Tensor, scale: float, seen: "_Seen") -> None:
        if self._scales.softcap is None:
            bias = seen.bias(query, key.shape[2], 0, 0) if seen.segment.window is not None else None
            merged.add(*attend(query, key, value, scale, causal=seen.segment.diagonal and bias is None, bias=bias))
            return
        outputs, sums = [], []
        for first in range(0, query.shape[2], _TILE_ROWS):
            rows = query[:, :, first : first + _TILE_ROWS]
            tile = Merged()
            for start in range(0, key.shape[2], _TILE_KEYS):
                keys, values = key[:, :, start : start + _TILE_KEYS], value[:, :, start : start + _TILE_KEYS]
                bias = seen.bias(rows, keys.shape[2], first, start)
                tile.add(*attend_plainly(rows, keys, values, scale, bias=bias, softcap=self._scales.softcap))
            output, lse = tile.pair()
            outputs.append(output)
            sums.append(lse)
        merged.add(torch.cat(outputs, 2), torch.cat(sums, 2))

    def _lanes(self, lanes: Sequence[Lane], query: Tensor, turned: Turned) -> Tensor:
        """Single rows of several sequences with the same segments, (lanes, heads, dim)."""
        if len(lanes) == 1 or not _evenly_spaced(lanes):
            return torch.cat([self._lane(lane, query[at : at + 1], turned) for at, lane in enumerate(lanes)])
        starts = [lane.segments[0][1][0][0] for lane in lanes]
        counts = [lane.segments[0][1][0][1] for lane in lanes]
        longest, apart = max(counts), starts[1] - starts[0]
        kv_heads, slots, dim = self._keys.shape
        width = self._values.shape[2]
        keys = self._keys.as_strided((len(lanes), kv_heads, longest, dim), (apart * dim, slots * dim, dim, 1), starts[0] * dim)
        values = self._values.as_strided(
            (len(lanes), kv_heads, longest, width), (apart * width, slots * width, width, 1), starts[0] * width
        )
        folded = query.view(len(lanes), kv_heads, -1, dim)
        if any(lane.sharpness != 1.0 for lane in lanes):
            folded = folded * torch.tensor([lane.sharpness for lane in lanes], dtype=query.dtype)[:, None, None, None]
        bias = None
        if min(counts) != longest:
            beyond = torch.arange(longest)[None] >= torch.tensor(counts)[:, None]
            bias = torch.zeros(len(lanes), 1, 1, longest, dtype=query.dtype).masked_fill_(beyond[:, None, None], float("-inf"))
        merged = Merged()
        if self._scales.softcap is None:
            merged.add(*attend(folded, keys, values, self._scales.scale, bias=bias))
        else:
            merged.add(*attend_plainly(folded, keys, values, self._scales.scale, bias=bias, softcap=self._scales.softcap))
        return self._unfolded(merged, len(lanes), query.shape[1])

    def _unfolded(self, merged: Merged, rows: int, heads: int) -> Tensor:
        sinks = self._scales.sinks
        if sinks is None:
            return merged.result().reshape(rows, heads, -1)
        output, lse = merged.pair()
        flat = Merged()
        flat.add(output.reshape(rows, heads, 1, -1), lse.reshape(rows, heads, 1))
        return flat.result(sinks)[:, :, 0]

    def _lane(self, lane: Lane, query: Tensor, turned: Turned) -> Tensor:
        merged = Merged()
        kv_heads = self._keys.shape[0]
        scale = self._scales.scale * lane.sharpness
        for segment, runs in lane.segments:
            own = query if segment.angle is Angle.OWN else turned(slice(lane.row, lane.row + 1), segment.angle)
            folded = own.reshape(1, kv_heads, -1, own.shape[2])
            for slot, count in runs:
                keys, values = self._keys[None, :, slot : slot + count], self._values[None, :, slot : slot + count]
                if self._scales.softcap is None:
                    merged.add(*attend(folded, keys, values, scale))
                else:
                    merged.add(*attend_plainly(folded, keys, values, scale, softcap=self._scales.softcap))
        return self._unfolded(merged, 1, query.shape[1])


def _cut(runs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Runs of at most ``PIECE_KEYS`` slots: a kernel may copy the keys and values of one call into an order of its own."""
    for slot, count in runs:
        for first in range(0, count, PIECE_KEYS):
            yield slot + first, min(PIECE_KEYS, count - first)


@dataclass(frozen=True, slots=True)
class _Seen:
    """Where a piece's queries and keys stand, for what a window or the diagonal hides."""

    first_query: int
    first_key: int
    segment: Segment

    def bias(self, query: Tensor, keys: int, row: int, column: int) -> Tensor | None:
        """(rows, keys) of zero and minus infinity; None where all is seen."""
        if not self.segment.diagonal and self.segment.window is None:
            return None
        rows = torch.arange(query.shape[2], device=query.device)[:, None] + self.first_query + row
        columns = torch.arange(keys, device=query.device)[None] + self.first_key + column
        hidden = columns > rows if self.segment.diagonal else torch.zeros(1, 1, dtype=torch.bool, device=query.device)
        if self.segment.window is not None:
            hidden = hidden | (columns <= rows - self.segment.window)
        return torch.zeros(hidden.shape, dtype=query.dtype, device=query.device).masked_fill_(hidden, float("-inf"))


def _single_run(lane: Lane) -> bool:
    return len(lane.segments) == 1 and len(lane.segments[0][1]) == 1


def _evenly_spaced(lanes: Sequence[Lane]) -> bool:
    if not all(_single_run(lane) for lane in lanes):
        return False
    starts = [lane.segments[0][1][0][0] for lane in lanes]
    gaps = {after - before for before, after in pairwise(starts)}
    return len(gaps) == 1 and min(gaps) > 0


def _alike(lanes: Sequence[Lane]) -> list[list[Lane]]:
    """Lanes that can be attended to in one call: in one run each, equally far apart, of similar length; the others one by one."""
    ordered = sorted((lane for lane in lanes if _single_run(lane)), key=lambda lane: lane.segments[0][1][0][0])
    found: list[list[Lane]] = [[lane] for lane in lanes if not _single_run(lane)]
    for lane in ordered:
        last = found[-1] if found and _single_run(found[-1][0]) else None
        if last is not None and _similar([*last, lane]) and (len(last) == 1 or _evenly_spaced([*last[-2:], lane])):
            last.append(lane)
        else:
            found.append([lane])
    return found


def _similar(lanes: Sequence[Lane]) -> bool:
    counts = [lane.segments[0][1][0][1] for lane in lanes]
    return max(counts) <= _SIMILAR * min(counts)
