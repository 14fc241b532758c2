"""Attention of one layer: projections, norms of heads, rotation, the walk over the cache, and the way back."""

from torch import Tensor
from torch.nn import functional

from ullage.engines.runtime.transient import ROWS
from ullage.runtime.attend.segments import Angle
from ullage.runtime.attend.step import Step
from ullage.runtime.attend.walk import Scales, Walk
from ullage.runtime.linear.form import Linear
from ullage.runtime.model.norms import NormLayer
from ullage.runtime.model.traits import Rotary
from ullage.runtime.model.turning import Angles


class HeadNorm:
    """A norm over each head's elements, of queries and keys at once: weights (heads + kv_heads, dim)."""

    def __init__(self, weight: Tensor, epsilon: float) -> None:
        self._weight, self._epsilon = weight, epsilon
        self.nbytes = weight.nbytes

    def __call__(self, heads: Tensor) -> Tensor:
        """(rows, heads, dim), in place and a few rows at a time."""
        for some in heads.split(ROWS):
            some.copy_(functional.rms_norm(some, some.shape[-1:], None, self._epsilon).mul_(self._weight))
        return heads


class Attention:
    """Queries, keys and values in one product; grouped heads; full or windowed, plain or dual chunk."""

    def __init__(  # noqa: PLR0913 - the parts of a layer
        self,
        *,
        qkv: Linear,
        out: Linear,
        heads: int,
        kv_heads: int,
        key_dim: int,
        value_dim: int,
        scales: Scales,
        rotary: Rotary | None,
        head_norm: HeadNorm | None,
        group: int,
        place: int,
    ) -> None:
        self._qkv, self._out = qkv, out
        self._heads, self._kv_heads, self._key_dim, self._value_dim = heads, kv_heads, key_dim, value_dim
        self._scales, self._rotary, self._head_norm = scales, rotary, head_norm
        self._group, self._place = group, place
        self.nbytes = (
            qkv.nbytes + out.nbytes + (head_norm.nbytes if head_norm else 0) + (0 if scales.sinks is None else scales.sinks.nbytes)
        )

    def __call__(self, hidden: Tensor, norm: NormLayer, step: Step, turned: "Turned") -> Tensor:
        """(rows, hidden) that the norm has still to be applied to, to (rows, hidden); writes the cache."""
        return self._out(self._attended(self._projected(hidden, norm), step, turned))

    def _projected(self, hidden: Tensor, norm: NormLayer) -> Tensor:
        """Queries, keys and values of all rows, (rows, width)."""
        if hidden.shape[0] <= ROWS:
            return self._qkv(norm(hidden))
        projected = hidden.new_empty(hidden.shape[0], self._qkv.out_features)
        for part, rows in zip(projected.split(ROWS), hidden.split(ROWS), strict=True):
            part.copy_(self._qkv(norm(rows)))
        return projected

    def _attended(self, projected: Tensor, step: Step, turned: "Turned") -> Tensor:
        both = self._heads + self._kv_heads
        heads = projected[:, : both * self._key_dim].view(-1, both, self._key_dim)
        value = projected[:, both * self._key_dim :].view(-1, self._kv_heads, self._value_dim)
        if self._head_norm is not None:
            heads = self._head_norm(heads)
        if self._rotary is None:
            own = heads
        elif step.dual is None:
            own = turned.own(self._rotary).turn_(heads)
        else:
            own = turned.own(self._rotary).turn(heads)
        query, key = own[:, : self._heads], own[:, self._heads :]
        arena = step.pool.arenas[self._group]
        walk = Walk(*arena.held(self._place), self._scales)
        group = step.groups[self._group]
        key, value = walk.write(group, key, value)

        def other(rows: slice, angle: Angle) -> Tensor:
            unturned = heads[rows, : self._heads]
            return unturned if self._rotary is None else turned.other(self._rotary, rows, angle).turn(unturned)

        return walk.attend(group, query, key, value, other).flatten(1)


class Turned:
    """The angles of a step, made once for all layers of a device."""

    def __init__(self, step: Step, like: Tensor) -> None:
        self._step, self._dtype, self._device = step, like.dtype, like.device
        self._own: dict[int, Angles] = {}
        self._other: dict[tuple[int, int, int, Angle], Angles] = {}

    def own(self, rotary: Rotary) -> Angles:
        """Of every row's own position."""
        key = id(rotary)
        if key not in self._own:
            self._own[key] = Angles(rotary, self._step.key_positions().to(self._device), self._dtype)
        return self._own[key]

    def other(self, rotary: Rotary, rows: slice, angle: Angle) -> Angles:
        """Of some rows' queries for keys of another chunk."""
        key = (id(rotary), rows.start, rows.stop, angle)
        if key not in self._other:
            self._other[key] = Angles(rotary, self._step.query_positions(rows, angle).to(self._device), self._dtype)
        return self._other[key]
