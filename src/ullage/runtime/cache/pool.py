"""The pool: one budget of bytes, the arenas that share it, and the tables of sequences in them."""

from collections.abc import Sequence

import torch

from ullage.domain.architecture import Architecture, FullAttention, LatentAttention, SlidingAttention
from ullage.errors import UnsupportedModelError
from ullage.frozen import dataclass
from ullage.runtime.cache.arena import Arena, Rows
from ullage.runtime.cache.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Layers that keep the same tokens: all of them, or those in a window. ``places`` says where a layer is in the group."""

    window: int | None
    layers: tuple[int, ...]
    rows: tuple[Rows, ...]

    def first_kept(self, tokens: int) -> int:
        """The oldest token that the next one still sees when ``tokens`` are in the cache."""
        return 0 if self.window is None else max(0, tokens - self.window + 1)


def groups_of(architecture: Architecture) -> tuple[Group, ...]:
    """Full attention first, then one group for each width of window. Raises UnsupportedModelError for other mixers."""
    found: dict[int | None, list[tuple[int, Rows]]] = {}
    for index, layer in enumerate(architecture.layers):
        for mixer in layer.mixers:
            match mixer:
                case FullAttention(indexer=None):
                    found.setdefault(None, []).append((index, Rows(heads=mixer.kv_heads, key_dim=mixer.key_dim, value_dim=mixer.value_dim)))
                case SlidingAttention():
                    rows = Rows(heads=mixer.kv_heads, key_dim=mixer.key_dim, value_dim=mixer.value_dim)
                    found.setdefault(mixer.window_tokens, []).append((index, rows))
                case LatentAttention(indexer=None):
                    found.setdefault(None, []).append((index, Rows(heads=1, key_dim=mixer.latent_dim + mixer.rope_dim, value_dim=0)))
                case _:
                    raise UnsupportedModelError(f"layer {index} keeps {type(mixer).__name__}, which the runtime does not run")
    return tuple(
        Group(window=window, layers=tuple(index for index, _ in kept), rows=tuple(rows for _, rows in kept))
        for window, kept in sorted(found.items(), key=lambda item: item[0] or 0)
    )


class Pool:
    """The arenas of all groups under one budget. Nothing is taken until a sequence grows."""

    def __init__(
        self,
        groups: Sequence[Group],
        *,
        budget_bytes: int,
        page_tokens: int,
        lanes: int,
        lane_tokens: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.groups = tuple(groups)
        self.page_tokens = page_tokens
        self.budget_bytes = budget_bytes
        lane_pages = -(-lane_tokens // page_tokens)
        self.arenas = tuple(
            Arena(group.rows, page_tokens=page_tokens, lanes=lanes, lane_pages=lane_pages, dtype=dtype, device=device) for group in groups
        )

    @property
    def taken_bytes(self) -> int:
        """Bytes of all pages that are taken."""
        return sum(arena.taken_pages * arena.page_bytes for arena in self.arenas)

    def new_tables(self) -> tuple[Table, ...]:
        """Empty tables of one sequence."""
        return tuple(Table(self.page_tokens) for _ in self.groups)

    def missing_bytes(self, tables: Sequence[Table], tokens: int) -> int:
        """What growing to ``tokens`` tokens would take."""
        return sum(table.missing(tokens) * arena.page_bytes for table, arena in zip(tables, self.arenas, strict=True))

    def grow(self, tables: Sequence[Table], tokens: int) -> bool:
        """Give a sequence room for ``tokens`` tokens, or nothing and False when the budget does not allow it."""
        if self.taken_bytes + self.missing_bytes(tables, tokens) > self.budget_bytes:
            return False
        for table, arena in zip(tables, self.arenas, strict=True):
            table.grow(arena, tokens)
        return True

    def slide(self, tables: Sequence[Table], tokens: int) -> None:
        """Release what no window reaches any more once ``tokens`` tokens are in the cache."""
        for table, arena, group in zip(tables, self.arenas, self.groups, strict=True):
            if group.window is not None:
                gone = table.behind(group.first_kept(tokens))
                if gone:
                    arena.give_back(gone)

    def release(self, tables: Sequence[Table]) -> None:
        """Release everything a sequence holds."""
        for table, arena in zip(tables, self.arenas, strict=True):
            if table.pages:
                arena.give_back(table.pages)
            table.pages, table.dropped = [], 0
