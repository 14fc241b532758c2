"""What tokens take in the cache: groups of layers, the bytes of their pages, and the pages of a sequence."""

from collections.abc import Sequence
from math import gcd

from ullage.domain.architecture import Architecture, FullAttention, LatentAttention, SlidingAttention
from ullage.engines.runtime.residence import cache_row_bytes
from ullage.errors import UnsupportedModelError
from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What one layer keeps of a token: ``heads`` rows of ``key_dim`` elements and, unless the key is the value, of ``value_dim``."""

    heads: int
    key_dim: int
    value_dim: int  # 0: values are read from the keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Layers that keep the same tokens on one device: all of them, or those in a window. ``rows`` says what each layer keeps."""

    window: int | None
    layers: tuple[int, ...]
    rows: tuple[Rows, ...]
    device: int = 0  # of those that the model is spread over

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


def token_bytes(rows: Sequence[Rows], *, keys: str, values: str, element: int) -> int:
    """What one token takes over the layers of a group; ``keys`` and ``values`` are forms of the cache."""
    if keys != values and any(not row.value_dim for row in rows):
        raise UnsupportedModelError(
            f"latent attention keeps one row for key and value: kv_dtype k={keys},v={values} cannot tell them apart"
        )
    total = 0
    for row in rows:
        each = cache_row_bytes(keys, row.key_dim, element) + (cache_row_bytes(values, row.value_dim, element) if row.value_dim else 0)
        total += row.heads * each
    return total


@dataclass(frozen=True, slots=True)
class Kept:
    """One group of layers: the window of tokens it keeps (None: all) and the bytes of one of its pages."""

    window: int | None
    page_bytes: int

    def first_kept(self, tokens: int) -> int:
        """The oldest token the next one still sees when ``tokens`` are in the cache."""
        return 0 if self.window is None else max(0, tokens - self.window + 1)


@dataclass(frozen=True, slots=True)
class Form:
    """The pages of a sequence. All groups grow together, so each has room for the same tokens."""

    page_tokens: int
    groups: tuple[Kept, ...]

    @property
    def bundle_bytes(self) -> int:
        """One page of every group: what a sequence grows by."""
        return sum(group.page_bytes for group in self.groups)

    def pages(self, tokens: int) -> int:
        """Pages of one group that hold so many tokens."""
        return -(-tokens // self.page_tokens)

    def held_bytes(self, cached: int, reach: int) -> int:
        """Bytes of a sequence with ``cached`` tokens in the cache and room for ``reach``."""
        last = self.pages(reach)
        return sum(group.page_bytes * max(0, last - group.first_kept(cached) // self.page_tokens) for group in self.groups)

    def peak_bytes(self, tokens: int, rows: int) -> int:
        """The most that a sequence holds on its way to ``tokens`` tokens in steps of at most ``rows``."""
        pages = self.pages(tokens)
        total = 0
        for group in self.groups:
            # An interval of n tokens touches at most (n - 2) // page + 2 pages: 6 tokens can touch 3 pages of 4.
            seen = pages if group.window is None else (group.window - 1 + rows - 2) // self.page_tokens + 2
            total += group.page_bytes * min(pages, seen)
        return total

    def aligned_peak_bytes(self, tokens: int, rows: int) -> int:
        """The same for one that is alone: its steps begin at multiples of ``rows`` and leave no room between."""
        steps = -(-tokens // rows)
        # What windows hold comes again after so many steps, and everything else only grows: the most is among the last ones.
        period = self.page_tokens // gcd(self.page_tokens, rows)
        last = (at * rows for at in range(max(0, steps - 2 * period - 2), steps))
        return max((self.held_bytes(at, min(at + rows, tokens)) for at in last), default=0)

    def longest(self, budget_bytes: int, rows: int, most: int) -> int:
        """The longest sequence, up to ``most`` tokens, that fits in ``budget_bytes`` alone."""
        low, high = 0, self.pages(most)
        while low < high:
            middle = (low + high + 1) // 2
            if self.peak_bytes(middle * self.page_tokens, rows) <= budget_bytes:
                low = middle
            else:
                high = middle - 1
        return min(most, low * self.page_tokens)


def form_of(groups: Sequence[Group], *, page_tokens: int, keys: str, values: str, element: int) -> Form:
    """The pages of a model's groups in one form of the cache."""
    return Form(
        page_tokens,
        tuple(Kept(group.window, page_tokens * token_bytes(group.rows, keys=keys, values=values, element=element)) for group in groups),
    )
