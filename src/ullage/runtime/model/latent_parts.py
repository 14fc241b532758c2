"""Latent attention from a layer's tensors."""

from torch import Tensor

from ullage.domain.architecture import LatentAttention as Outline
from ullage.domain.checkpoint import Part, Role
from ullage.engines.runtime.latents import expand_from
from ullage.errors import UnsupportedModelError
from ullage.frozen import replace
from ullage.runtime.linear.form import Linear
from ullage.runtime.linear.weights import Weights
from ullage.runtime.loading.stored import Reordered
from ullage.runtime.model.latent import LatentAttention, QueryDown, halves, side_by_side
from ullage.runtime.model.norms import RmsNorm
from ullage.runtime.model.parts import MakeLinear, Parts
from ullage.runtime.model.traits import Traits

_EPSILON = 1e-6  # of the norms of latents, whatever the configuration says of the others


def latent_attention(parts: Parts, outline: Outline, traits: Traits, make: MakeLinear, place: tuple[int, int]) -> LatentAttention:
    """``place``: the group of the cache and the layer's place in it. Raises UnsupportedModelError for a sparse indexer."""
    if outline.indexer is not None:
        raise UnsupportedModelError("latent attention with a sparse indexer is not run")
    key_up, value_up = halves(parts.one(Role.KV_B), outline.query_heads, outline.nope_dim)
    return LatentAttention(
        query=_query(parts, outline, traits, make),
        down=_moved(parts, Role.KV_A, traits, make, heads=1, before=outline.latent_dim, rope=outline.rope_dim),
        norm=_norm(parts, "kv_a_layernorm"),
        key_up=key_up,
        value_up=value_up,
        out=make(parts.matrix(Role.O), parts.rows(Role.O, part=Part.BIAS)),
        rope_dim=outline.rope_dim,
        scale=traits.attention_scale or (outline.nope_dim + outline.rope_dim) ** -0.5,
        rotary=traits.rotary,
        group=place[0],
        place=place[1],
        expand_from=expand_from(latent=outline.latent_dim, rope=outline.rope_dim, nope=outline.nope_dim, value=outline.value_dim),
    )


def _query(parts: Parts, outline: Outline, traits: Traits, make: MakeLinear) -> Linear | QueryDown:
    role = Role.Q if outline.query_latent_dim is None else Role.Q_B
    up = _moved(parts, role, traits, make, heads=outline.query_heads, before=outline.nope_dim, rope=outline.rope_dim)
    if outline.query_latent_dim is None:
        return up
    down = make(parts.matrix(Role.Q_A), parts.rows(Role.Q_A, part=Part.BIAS))
    return QueryDown(down, _norm(parts, "q_a_layernorm"), up)


def _moved(parts: Parts, role: Role, traits: Traits, make: MakeLinear, *, heads: int, before: int, rope: int) -> Linear:
    """A projection whose rotary rows stand in halves, as they are turned."""
    weights, bias = parts.matrix(role), parts.rows(role, part=Part.BIAS)
    if traits.rotary is None or not traits.rotary.interleaved:
        return make(weights, bias)
    order = side_by_side(heads, before, rope)
    return make(_in_order(weights, order), None if bias is None else bias[order.to(bias.device)])


def _in_order(weights: Weights, order: Tensor) -> Weights:
    (piece,) = weights.pieces
    return replace(weights, pieces=(Reordered(stored=piece, order=order),))


def _norm(parts: Parts, word: str) -> RmsNorm:
    found = parts.norm(word)
    if Part.WEIGHT not in found:
        raise UnsupportedModelError(f"latent attention without {word} is not run")
    return RmsNorm(found[Part.WEIGHT], _EPSILON)
