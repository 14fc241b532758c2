"""Attention of a packed batch over the cache: the segments of each block, and the lanes of single tokens together."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ullage.engines.runtime.transient import PIECE_KEYS
from ullage.frozen import dataclass
from ullage.runtime.attend.kernels import Merged, attend, attend_plainly
from ullage.runtime.attend.lanes import Lane, Together
from ullage.runtime.attend.quantised import attend_folded
from ullage.runtime.attend.segments import Angle, Segment
from ullage.runtime.attend.step import Block, GroupStep
from ullage.runtime.cache.held import Held, Lie, scaled

_TILE_KEYS = 1024  # of the plain kernel, which holds its logits
_TILE_ROWS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """What a layer does to its logits."""

    scale: float
    softcap: float | None = None
    sinks: Tensor | None = None  # (heads,)


Turned = Callable[[slice, Angle], Tensor]  # queries of some rows at another angle, (rows, heads, dim)


class Walk:
    """One layer's attention over its keys and values."""

    def __init__(self, keys: Held, values: Held, scales: Scales) -> None:
        self._keys, self._values, self._scales = keys, values, scales
        self._fused = keys.is_native and values.is_native and scales.softcap is None

    def write(self, step: GroupStep, key: Tensor, value: Tensor | None) -> tuple[Tensor, Tensor]:
        """Put the rows' keys and values, (rows, kv_heads, dim), where the step says; gives them back as they are read there."""
        seen = _put(self._keys, step, key)
        return seen, seen if value is None else _put(self._values, step, value)

    def attend(self, step: GroupStep, query: Tensor, key: Tensor, value: Tensor, turned: Turned) -> Tensor:
        """(rows, heads, dim) of queries at their own angle, with the rows' own keys and values; the same shape comes out."""
        output = query.new_empty(query.shape[0], query.shape[1], value.shape[2])
        for block in step.blocks:
            output[block.rows] = self._block(block, query, key, value, turned)
        for part in step.together:
            output[part.rows] = self._together(part, query[part.rows])
        for lane in step.lanes:
            output[lane.row : lane.row + 1] = self._lane(lane, query[lane.row : lane.row + 1], turned)
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
                keys, values = self._keys.read(slot, count, query.dtype)[None], self._values.read(slot, count, query.dtype)[None]
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

    def _together(self, part: Together, query: Tensor) -> Tensor:
        """Single rows of several sequences, (lanes, heads, dim)."""
        folded = query.view(part.lanes, self._keys.heads, -1, query.shape[2])
        if part.sharpness is not None:
            folded = folded * part.sharpness.to(query.dtype)
        merged = Merged()
        for slot, count in part.shared:
            merged.add(*self._shared(folded, Lie(slot, count)))
        lie = Lie(part.first, part.longest, part.lanes, part.apart)
        merged.add(*self._attended(folded, lie, self._scales.scale, part.hidden))
        return self._unfolded(merged, part.lanes, query.shape[1])

    def _shared(self, folded: Tensor, lie: Lie) -> tuple[Tensor, Tensor]:
        """Queries of all lanes, (lanes, kv_heads, group, dim), against keys and values that all of them see."""
        lanes, kv_heads, group, dim = folded.shape
        together = folded.transpose(0, 1).reshape(1, kv_heads, lanes * group, dim)
        output, lse = self._attended(together, lie, self._scales.scale, None)
        return output.reshape(kv_heads, lanes, group, -1).transpose(0, 1), lse.reshape(kv_heads, lanes, group).transpose(0, 1)

    def _attended(self, query: Tensor, lie: Lie, scale: float, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Few queries, (lanes, kv_heads, group, dim), against what lies there."""
        if self._fused:
            (keys,), (values,) = self._keys.strided(lie), self._values.strided(lie)
            return attend(query, keys, values, scale, bias=bias)
        return attend_folded(query, self._keys, self._values, lie, scale, bias=bias, softcap=self._scales.softcap)

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
        kv_heads = self._keys.heads
        scale = self._scales.scale * lane.sharpness
        for segment, runs in lane.segments:
            own = query if segment.angle is Angle.OWN else turned(slice(lane.row, lane.row + 1), segment.angle)
            folded = own.reshape(1, kv_heads, -1, own.shape[2])
            for slot, count in runs:
                merged.add(*self._attended(folded, Lie(slot, count), scale, None))
        return self._unfolded(merged, 1, query.shape[1])


def _put(held: Held, step: GroupStep, rows: Tensor) -> Tensor:
    """Write (rows, kv_heads, width) and give back what readers will see."""
    parts = held.form.quantise(rows.transpose(0, 1))
    for store, turned in zip(held.parts, parts, strict=True):
        for part, slot in step.writes:
            store[:, slot : slot + part.stop - part.start] = turned[:, part]
        if step.scattered is not None:
            part, slots = step.scattered
            store.index_copy_(1, slots, turned[:, part])
    return rows if held.is_native else scaled(held.form, parts, rows.dtype).transpose(0, 1)


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
