"""Multi-head latent attention: the cache keeps one latent and one rotary key per token, shared by all heads.

A head's key is W_k c and its value W_v c for a latent c. Few queries are taken down to the latents, q' = W_k^T q, and what comes out, a
mixture of latents, is taken up by W_v (arXiv 2405.04434, section 2.1.2): nothing is made for a key. Many queries pay for expanding the
latents they meet, some heads at a time, because a head's key is so much narrower than a latent.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ullage.engines.runtime.latents import expanded_heads
from ullage.engines.runtime.transient import PIECE_KEYS, ROWS
from ullage.runtime.attend.kernels import Merged, attend
from ullage.runtime.attend.segments import Angle
from ullage.runtime.attend.step import Block, Step
from ullage.runtime.attend.walk import Scales, Walk
from ullage.runtime.cache.held import Held
from ullage.runtime.linear.form import Linear
from ullage.runtime.model.attention import Turned
from ullage.runtime.model.norms import NormLayer
from ullage.runtime.model.traits import Rotary


class QueryDown:
    """Queries through a narrower latent: down, norm, up."""

    def __init__(self, down: Linear, norm: NormLayer, up: Linear) -> None:
        self._down, self._norm, self._up = down, norm, up
        self.nbytes = down.nbytes + norm.nbytes + up.nbytes
        self.out_features = up.out_features

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, hidden) to (rows, heads * key width)."""
        return self._up(self._norm(self._down(x)))


class LatentAttention:
    """``key_up`` is (heads, nope, latent) and ``value_up`` (heads, latent, value): the two halves of what is stored as one matrix.

    Blocks of at least ``expand_from`` queries expand the latents; None: no block does.
    """

    def __init__(  # noqa: PLR0913 - the parts of a layer
        self,
        *,
        query: Linear | QueryDown,
        down: Linear,
        norm: NormLayer,
        key_up: Tensor,
        value_up: Tensor,
        out: Linear,
        rope_dim: int,
        scale: float,
        rotary: Rotary | None,
        group: int,
        place: int,
        expand_from: int | None,
    ) -> None:
        self._query, self._down, self._norm, self._out = query, down, norm, out
        self._key_up, self._value_up = key_up, value_up
        self._heads, self._nope, self._latent, self._rope = key_up.shape[0], key_up.shape[1], key_up.shape[2], rope_dim
        self._scale, self._rotary, self._expand_from = scale, rotary, expand_from
        self._group, self._place = group, place
        self.nbytes = sum(part.nbytes for part in (query, down, norm, out, key_up, value_up))

    def __call__(self, hidden: Tensor, norm: NormLayer, step: Step, turned: Turned) -> Tensor:
        """(rows, hidden) that the norm has still to be applied to, to (rows, hidden); writes the cache."""
        query, own = self._projected(hidden, norm)
        if self._rotary is not None:
            angles = turned.own(self._rotary)
            angles.turn_(query[..., self._nope :])
            angles.turn_(own[:, None, self._latent :])
        arena, group = step.pool.arenas[self._group], step.groups[self._group]
        walk = Walk(*arena.held(self._place), Scales(scale=self._scale))
        own = walk.write(group, own[:, None], None)[0][:, 0]
        found = hidden.new_empty(hidden.shape[0], self._heads, self._value_up.shape[2])
        for block in group.blocks:
            found[block.rows] = self._block(block, query[block.rows], own, arena.held(self._place)[0])
        if group.scattered is not None:
            rows = group.scattered[0]
            down, seen = self._taken_down(query[rows]), own[rows, None]
            found[rows] = self._taken_up(walk.attend(group.single_rows(), down, seen, seen, _no_other))
        return self._out(found.flatten(1))

    def _projected(self, hidden: Tensor, norm: NormLayer) -> tuple[Tensor, Tensor]:
        """Queries, (rows, heads, nope + rope), and what is kept of the rows, (rows, latent + rope); neither is turned yet."""
        query = hidden.new_empty(hidden.shape[0], self._query.out_features)
        own = hidden.new_empty(hidden.shape[0], self._latent + self._rope)
        for some_query, some_own, rows in zip(query.split(ROWS), own.split(ROWS), hidden.split(ROWS), strict=True):
            normed = norm(rows)
            some_query.copy_(self._query(normed))
            some_own.copy_(self._down(normed))
            some_own[:, : self._latent] = self._norm(some_own[:, : self._latent])
        return query.view(-1, self._heads, self._nope + self._rope), own

    def _taken_down(self, query: Tensor) -> Tensor:
        """(rows, heads, nope + rope) to (rows, heads, latent + rope)."""
        down = query.new_empty(*query.shape[:2], self._latent + self._rope)
        down[..., : self._latent] = torch.bmm(query[..., : self._nope].transpose(0, 1), self._key_up).transpose(0, 1)
        down[..., self._latent :] = query[..., self._nope :]
        return down

    def _taken_up(self, mixed: Tensor) -> Tensor:
        """(rows, heads, latent and more) to (rows, heads, value)."""
        latents = mixed[..., : self._latent].transpose(0, 1).to(self._value_up.dtype)
        return torch.bmm(latents, self._value_up).transpose(0, 1)

    def _block(self, block: Block, query: Tensor, own: Tensor, cached: Held) -> Tensor:
        """One block's queries, (rows, heads, nope + rope), to (rows, heads, value)."""
        rows = query.shape[0]
        if self._expand_from is None or rows < self._expand_from:
            return self._taken_up(self._absorbed(self._taken_down(query), block, own, cached))
        found = query.new_empty(rows, self._heads, self._value_up.shape[2])
        width = self._nope + self._rope
        step = expanded_heads(self._heads, max(rows, PIECE_KEYS), width, query.element_size())
        for first in range(0, self._heads, step):
            heads = slice(first, first + step)
            merged = Merged()
            for kept, causal in _met(block, own, cached):
                merged.add(*self._over(query, kept, heads, causal=causal))
            found[:, heads] = merged.result()[0, :, :, : found.shape[2]].transpose(0, 1)
        return found

    def _over(self, query: Tensor, kept: Tensor, heads: slice, *, causal: bool) -> tuple[Tensor, Tensor]:
        """A function of its own, so that what was expanded is gone before the next is."""
        key, value = self._expanded(kept, heads)
        return attend(query[None, :, heads].transpose(1, 2), key, value, self._scale, causal=causal)

    def _absorbed(self, down: Tensor, block: Block, own: Tensor, cached: Held) -> Tensor:
        """(rows, heads, latent + rope), a mixture of the rows that are kept."""
        merged = Merged()
        for kept, causal in _met(block, own, cached):
            merged.add(*attend(down.transpose(0, 1)[None], kept[None, None], kept[None, None], self._scale, causal=causal))
        return merged.result()[0].transpose(0, 1)

    def _expanded(self, kept: Tensor, heads: slice) -> tuple[Tensor, Tensor]:
        """Some heads' keys and values of (keys, latent + rope): (1, heads, keys, nope + rope) both, as kernels want one width."""
        up, value_up = self._key_up[heads], self._value_up[heads]
        key = kept.new_empty(1, up.shape[0], kept.shape[0], self._nope + self._rope)
        latents = kept[:, : self._latent].expand(up.shape[0], -1, -1)
        key[0, ..., : self._nope] = torch.bmm(latents, up.transpose(1, 2))
        key[0, ..., self._nope :] = kept[:, self._latent :]
        value = torch.zeros_like(key)
        value[0, ..., : value_up.shape[2]] = torch.bmm(latents, value_up)
        return key, value


def _met(block: Block, own: Tensor, cached: Held) -> Iterator[tuple[Tensor, bool]]:
    """What is kept of the keys that a block meets, at most ``PIECE_KEYS`` of the cache at a time; True for its own rows."""
    for segment, runs in block.segments:
        if segment.diagonal:
            yield own[block.rows], True
            continue
        for slot, count in runs:
            for first in range(slot, slot + count, PIECE_KEYS):
                yield cached.read(first, min(PIECE_KEYS, slot + count - first), own.dtype)[0], False


def _no_other(rows: slice, angle: Angle) -> Tensor:
    raise ValueError(f"latent attention has no queries at the angle {angle} for {rows}: it is never dual chunk")


def halves(weight: Tensor, heads: int, nope: int) -> tuple[Tensor, Tensor]:
    """``kv_b_proj``, (heads * (nope + value), latent), as (heads, nope, latent) and (heads, latent, value)."""
    both = weight.view(heads, -1, weight.shape[1])
    return both[:, :nope].contiguous(), both[:, nope:].transpose(1, 2).contiguous()


def side_by_side(heads: int, before: int, rope: int) -> Tensor:
    """The order of rows in which the first and the second of each rotary pair stand in two halves instead of beside one another.

    A matrix has heads * (before + rope) rows; the first ``before`` of each head stay. Dot products do not change, because queries and keys
    are moved alike.
    """
    own = torch.arange(heads * (before + rope)).view(heads, before + rope)
    pairs = own[:, before:]
    return torch.cat((own[:, :before], pairs[:, 0::2], pairs[:, 1::2]), 1).flatten()
