"""Few queries over keys and values that are kept as codes: scales are folded into logits and weights, so no row is ever scaled.

With codes c, scales s and values' codes d, scales t: the logit of key j is s_j (q c_j), and the output is the sum of (p_j t_j) d_j. Codes
become float32 a tile at a time in a bounded scratch and are multiplied from there; what a kernel for whole rows would give comes out, in
float32 throughout.
"""

import torch
from torch import Tensor

from ullage.engines.runtime.cache_tiles import SCORED_KEYS, tile_keys
from ullage.runtime.attend.kernels import Merged
from ullage.runtime.cache.held import Held, Lie


def attend_folded(
    query: Tensor, keys: Held, values: Held, lie: Lie, scale: float, *, bias: Tensor | None = None, softcap: float | None = None
) -> tuple[Tensor, Tensor]:
    """(lanes, kv_heads, group, dim) queries; output of the same shape and its log-sum-exp, as `kernels.attend` gives them."""
    merged = Merged()
    folded = query.float().mul(scale).reshape(-1, *query.shape[2:])
    for start in range(0, lie.count, SCORED_KEYS):
        part = lie.part(start, start + SCORED_KEYS)
        some = None if bias is None else bias[..., start : start + part.count]
        output, lse = _scored(folded, keys, values, part, some, softcap)
        merged.add(output.unflatten(0, query.shape[:2]), lse.unflatten(0, query.shape[:2]))
    output, lse = merged.pair()
    return output.to(query.dtype), lse


def _scored(query: Tensor, keys: Held, values: Held, lie: Lie, bias: Tensor | None, softcap: float | None) -> tuple[Tensor, Tensor]:
    """One softmax over at most ``SCORED_KEYS`` keys of each lane: (lanes * kv_heads, group, width) and (lanes * kv_heads, group)."""
    pairs = query.shape[0]
    found = [
        torch.bmm(query, keys.form.numbers(keys.strided(part), torch.float32).flatten(0, 1).transpose(1, 2))
        for part, _ in _tiles(lie, pairs, keys.width)
    ]
    logits = found[0] if len(found) == 1 else torch.cat(found, -1)
    del found
    _times(logits, keys, lie)
    if softcap is not None:
        logits.div_(softcap).tanh_().mul_(softcap)
    if bias is not None:
        logits.unflatten(0, (lie.lanes, -1)).add_(bias)
    best = logits.amax(-1, keepdim=True).clamp_min_(torch.finfo(logits.dtype).min)
    sums = logits.sub_(best).exp_().sum(-1, keepdim=True)
    _times(logits, values, lie)
    output = query.new_zeros(*query.shape[:2], values.width)
    for part, at in _tiles(lie, pairs, values.width):
        output.baddbmm_(logits[..., at], values.form.numbers(values.strided(part), torch.float32).flatten(0, 1))
    return output.div_(sums.clamp_min(torch.finfo(sums.dtype).tiny)), best.add_(sums.log_())[..., 0]


def _tiles(lie: Lie, pairs: int, width: int) -> list[tuple[Lie, slice]]:
    step = tile_keys(pairs, width)
    return [(lie.part(first, first + step), slice(first, min(first + step, lie.count))) for first in range(0, lie.count, step)]


def _times(logits: Tensor, side: Held, lie: Lie) -> None:
    """Multiply (lanes * kv_heads, group, keys) by the factors of rows, in place."""
    factor = side.form.factor(side.strided(lie))
    if factor is not None:
        logits.unflatten(0, (lie.lanes, -1)).mul_(factor[:, :, None])
