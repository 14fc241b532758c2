"""Multi-head latent attention, absorbed: the cache keeps one latent and one rotary key per token, shared by all heads.

A head's key is W_k c and its value W_v c for a latent c. Instead of building them, the query is taken down, q' = W_k^T q, so that it meets
the latents themselves, and what comes out, a mixture of latents, is taken up by W_v (arXiv 2405.04434, section 2.1.2).
"""

import torch
from torch import Tensor

from ullage.runtime.attend.segments import Angle
from ullage.runtime.attend.step import Step
from ullage.runtime.attend.walk import Scales, Walk
from ullage.runtime.linear.form import Linear
from ullage.runtime.model.attention import Turned
from ullage.runtime.model.norms import NormLayer
from ullage.runtime.model.traits import Rotary


class QueryDown:
    """Queries through a narrower latent: down, norm, up."""

    def __init__(self, down: Linear, norm: NormLayer, up: Linear) -> None:
        self._down, self._norm, self._up = down, norm, up
        self.nbytes = down.nbytes + norm.nbytes + up.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, hidden) to (rows, heads * key width)."""
        return self._up(self._norm(self._down(x)))


class LatentAttention:
    """``key_up`` is (heads, nope, latent) and ``value_up`` (heads, latent, value): the two halves of what is stored as one matrix."""

    def __init__(  # noqa: PLR0913 - the parts of a layer
        self,
        *,
        query: Linear | QueryDown,
        down: Linear,
        norm: NormLayer,
        key_up: Tensor,
        value_up: Tensor,
        out: Linear,
        heads: int,
        rope_dim: int,
        scale: float,
        rotary: Rotary | None,
        group: int,
        place: int,
    ) -> None:
        self._query, self._down, self._norm, self._out = query, down, norm, out
        self._key_up, self._value_up = key_up, value_up
        self._heads, self._nope, self._latent, self._rope = heads, key_up.shape[1], key_up.shape[2], rope_dim
        self._scales, self._rotary = Scales(scale=scale), rotary
        self._group, self._place = group, place
        self.nbytes = sum(part.nbytes for part in (query, down, norm, out, key_up, value_up))

    def __call__(self, x: Tensor, step: Step, turned: Turned) -> Tensor:
        """(rows, hidden) to (rows, hidden); writes the cache."""
        rows = x.shape[0]
        query = self._query(x).view(rows, self._heads, self._nope + self._rope)
        kept = self._down(x)
        latent, key_rope = self._norm(kept[:, : self._latent]), kept[:, self._latent :].view(rows, 1, self._rope)
        query_rope = query[..., self._nope :]
        if self._rotary is not None:
            angles = turned.own(self._rotary)
            query_rope, key_rope = angles.turn(query_rope), angles.turn(key_rope)
        # (rows, heads, nope) x (heads, nope, latent)
        taken_down = torch.bmm(query[..., : self._nope].transpose(0, 1), self._key_up).transpose(0, 1)
        queries = torch.cat((taken_down, query_rope), -1)
        key = torch.cat((latent.view(rows, 1, self._latent), key_rope), -1)
        arena = step.pool.arenas[self._group]
        walk = Walk(arena.keys(self._place), arena.values(self._place), self._scales)
        group = step.groups[self._group]
        walk.write(group, key, None)
        mixed = walk.attend(group, queries, key, key, _no_other)[..., : self._latent]
        values = torch.bmm(mixed.transpose(0, 1), self._value_up).transpose(0, 1)
        return self._out(values.reshape(rows, -1))


def _no_other(rows: slice, angle: Angle) -> Tensor:
    raise ValueError(f"latent attention has no queries at the angle {angle} for {rows}: it is never dual chunk")


def halves(weight: Tensor, heads: int, nope: int) -> tuple[Tensor, Tensor]:
    """``kv_b_proj``, (heads * (nope + value), latent), as (heads, nope, latent) and (heads, latent, value)."""
    both = weight.view(heads, -1, weight.shape[1])
    return both[:, :nope].contiguous(), both[:, nope:].transpose(1, 2).contiguous()


def side_by_side(weight: Tensor, heads: int, before: int, rope: int) -> Tensor:
    """Rows of rotary pairs that are neighbours, moved so that first and second of each pair stand in two halves.

    ``weight`` is (heads * (before + rope), in); the first ``before`` rows of a head stay. Dot products do not change, because queries and
    keys are moved alike.
    """
    shaped = weight.view(heads, before + rope, *weight.shape[1:])
    pairs = shaped[:, before:]
    moved = torch.cat((pairs[:, 0::2], pairs[:, 1::2]), 1)
    return torch.cat((shaped[:, :before], moved), 1).reshape(weight.shape)
