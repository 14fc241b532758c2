"""Sequences that add one token each: which of them one call attends to.

Lanes whose own keys lie in one run each, equally far apart and of similar length, are one strided tensor. What comes before, where they
share it, is one run for all of them: their queries meet it together.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ullage.frozen import dataclass, replace
from ullage.runtime.attend.segments import Segment

_SIMILAR = 2  # the longest of lanes that are attended to together is at most so many times the shortest

Run = tuple[int, int]  # the first slot, and how many


@dataclass(frozen=True, slots=True)
class Lane:
    """A sequence with one query row: its keys' runs by segment."""

    row: int
    position: int
    segments: tuple[tuple[Segment, tuple[Run, ...]], ...]
    sharpness: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Together:
    """Lanes for one call: row ``i`` of them sees the slots from ``first + i * apart`` on, and before those what all share."""

    rows: slice | Tensor  # of the batch
    lanes: int
    shared: tuple[Run, ...]
    first: int
    apart: int
    longest: int
    hidden: Tensor | None  # (lanes, 1, 1, longest): minus infinity beyond a lane's end; None where all are equally long
    sharpness: Tensor | None  # (lanes, 1, 1, 1); None where all are 1

    def moved(self, rows: int) -> "Together":
        """The same in a batch that begins ``rows`` rows later."""
        part = self.rows
        return replace(self, rows=slice(part.start - rows, part.stop - rows) if isinstance(part, slice) else part - rows)


def grouped(lanes: Sequence[Lane], slots: int, device: torch.device) -> tuple[tuple[Together, ...], tuple[Lane, ...]]:
    """Lanes that go together in an arena of ``slots`` slots, and those that go alone."""
    together: list[Together] = []
    alone = [lane for lane in lanes if len(lane.segments) != 1]
    for shared, owners in _by_beginning([lane for lane in lanes if len(lane.segments) == 1]).items():
        for group in _evenly(owners, slots):
            if len(group) > 1:
                together.append(_together(shared, group, device))
            else:
                alone.append(group[0][1])
    return tuple(together), tuple(alone)


def _by_beginning(lanes: Sequence[Lane]) -> dict[tuple[Run, ...], list[tuple[Run, Lane]]]:
    """Each lane's own run, by the runs before it. Who wrote what others share has it in one run with its own, which is cut there."""
    beginnings = {runs[:-1] for lane in lanes if len(runs := lane.segments[0][1]) > 1}
    by_slot = {beginning[0][0]: beginning for beginning in beginnings if len(beginning) == 1}
    found: dict[tuple[Run, ...], list[tuple[Run, Lane]]] = defaultdict(list)
    for lane in lanes:
        *before, (slot, count) = lane.segments[0][1]
        beginning = tuple(before)
        if not beginning and slot in by_slot and by_slot[slot][0][1] < count:
            beginning = by_slot[slot]
            slot, count = slot + beginning[0][1], count - beginning[0][1]
        found[beginning].append(((slot, count), lane))
    return found


def _evenly(owners: Sequence[tuple[Run, Lane]], slots: int) -> list[list[tuple[Run, Lane]]]:
    """Lanes in the order of their slots, cut where distances or lengths differ, or where the longest would pass the arena's end."""
    groups: list[list[tuple[Run, Lane]]] = []
    for owner in sorted(owners, key=lambda owner: owner[0][0]):
        if groups and _fits([run for run, _ in groups[-1]], owner[0], slots):
            groups[-1].append(owner)
        else:
            groups.append([owner])
    return groups


def _fits(runs: Sequence[Run], new: Run, slots: int) -> bool:
    counts = [count for _, count in (*runs, new)]
    starts = [slot for slot, _ in (*runs[-2:], new)]
    even = len({after - before for before, after in pairwise(starts)}) == 1
    return even and max(counts) <= _SIMILAR * min(counts) and new[0] + max(counts) <= slots


def _together(shared: tuple[Run, ...], group: Sequence[tuple[Run, Lane]], device: torch.device) -> Together:
    rows = [lane.row for _, lane in group]
    counts = [count for (_, count), _ in group]
    longest, sharpness = max(counts), [lane.sharpness for _, lane in group]
    hidden = None
    if min(counts) != longest:
        beyond = torch.arange(longest, device=device)[None] >= torch.tensor(counts, device=device)[:, None]
        hidden = torch.zeros(len(rows), 1, 1, longest, device=device).masked_fill_(beyond[:, None, None], float("-inf"))
    in_order = rows == list(range(rows[0], rows[0] + len(rows)))
    return Together(
        rows=slice(rows[0], rows[0] + len(rows)) if in_order else torch.tensor(rows, device=device),
        lanes=len(rows),
        shared=shared,
        first=group[0][0][0],
        apart=group[1][0][0] - group[0][0][0],
        longest=longest,
        hidden=hidden,
        sharpness=None if set(sharpness) == {1.0} else torch.tensor(sharpness, device=device)[:, None, None, None],
    )
