"""One layer's keys or values in the cache, in whatever they are kept."""

from torch import Tensor, dtype

from ullage.frozen import dataclass
from ullage.runtime.cache.formats import Format, Native


@dataclass(frozen=True, slots=True)
class Lie:
    """Where keys of ``lanes`` sequences lie: ``count`` slots each, the first at ``first``, from one to the next ``apart`` slots."""

    first: int
    count: int
    lanes: int = 1
    apart: int = 0

    def part(self, start: int, stop: int) -> "Lie":
        """The ``start``-th to the ``stop``-th slot of each."""
        return Lie(self.first + start, min(stop, self.count) - start, self.lanes, self.apart)


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """``parts``: the stores of a format, (kv_heads, slots, width of the store)."""

    form: Format
    width: int
    parts: tuple[Tensor, ...]

    @property
    def is_native(self) -> bool:
        """Whether the rows are kept as they are computed with."""
        return isinstance(self.form, Native)

    @property
    def tensor(self) -> Tensor:
        """(kv_heads, slots, width) where they are native."""
        return self.parts[0]

    @property
    def heads(self) -> int:
        """Heads that are kept."""
        return int(self.parts[0].shape[0])

    def read(self, slot: int, count: int, to: dtype) -> Tensor:
        """(kv_heads, count, width) of a run: a view where they are native, a copy otherwise."""
        if self.is_native:
            return self.parts[0][:, slot : slot + count]
        return scaled(self.form, tuple(part[:, slot : slot + count] for part in self.parts), to)

    def strided(self, lie: Lie) -> tuple[Tensor, ...]:
        """The parts of several sequences, (lanes, kv_heads, count, width of the store), as views."""
        found = []
        for part in self.parts:
            heads, slots, width = part.shape
            shape = (lie.lanes, heads, lie.count, width)
            found.append(part.as_strided(shape, (lie.apart * width, slots * width, width, 1), lie.first * width))
        return tuple(found)


def scaled(form: Format, parts: tuple[Tensor, ...], to: dtype) -> Tensor:
    """Rows as numbers of a dtype."""
    numbers, factor = form.numbers(parts, to), form.factor(parts)
    return numbers if factor is None else numbers.mul_(factor[..., None].to(to))
