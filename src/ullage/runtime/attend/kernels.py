"""Attention of one piece, with the logarithm of its softmax sum, and the exact merge of pieces.

Shapes: queries (batch, heads, rows, dim), keys and values (batch, kv_heads, keys, dim); outputs (batch, heads, rows, dim) and their
log-sum-exp (batch, heads, rows) in float32. Query heads may outnumber key heads by a whole factor.
"""

import torch
from torch import Tensor

from ullage.engines.runtime.transient import ROWS

# The fused kernels by their own names, because the public function does not return the log-sum-exp.
_flash_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - as above
_flash_cuda = torch.ops.aten._scaled_dot_product_flash_attention  # noqa: SLF001 - as above
_HALVES = (torch.bfloat16, torch.float16)
_WIDEST = 256  # elements of a head that the kernel of accelerators takes


def attend(
    query: Tensor, key: Tensor, value: Tensor, scale: float, *, causal: bool = False, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention of one piece by PyTorch's fused kernel. ``bias`` is added to the logits and broadcasts to (batch, heads, rows, keys)."""
    if query.device.type == "cpu":
        output, lse = _flash_cpu(query, key, value, 0.0, causal, attn_mask=_fitted(bias, query, key), scale=scale)
        if bias is not None:  # the kernel says 0 of a query that sees no key, which would weigh as much as one key in a merge
            lse = lse.masked_fill(torch.isneginf(bias).all(-1), float("-inf"))
        return output, lse
    if bias is None and query.dtype in _HALVES and query.shape[3] <= _WIDEST:
        repeated = query.shape[1] // key.shape[1]
        if repeated > 1:
            key, value = key.repeat_interleave(repeated, 1), value.repeat_interleave(repeated, 1)
        output, lse, *_ = _flash_cuda(query, key, value, 0.0, causal, False, scale=scale)
        return output, lse
    return attend_plainly(query, key, value, scale, causal=causal, bias=bias)


def _fitted(bias: Tensor | None, query: Tensor, key: Tensor) -> Tensor | None:
    if bias is None:
        return None
    return bias.to(query.dtype).expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])


def attend_plainly(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    *,
    causal: bool = False,
    bias: Tensor | None = None,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The same in plain PyTorch, with an optional soft cap on the logits: the twin that tests compare the kernels with."""
    batch, heads, rows, dim = query.shape
    kv_heads, keys = key.shape[1], key.shape[2]
    folded = query.reshape(batch, kv_heads, heads // kv_heads, rows, dim).float()
    logits = torch.einsum("bkgrd,bkcd->bkgrc", folded, key.float()).mul_(scale)
    if softcap is not None:
        logits.div_(softcap).tanh_().mul_(softcap)
    logits = logits.reshape(batch, heads, rows, keys)
    if bias is not None:
        logits.add_(bias)
    if causal:
        later = torch.ones(rows, keys, dtype=torch.bool, device=query.device).triu(1)
        logits.masked_fill_(later, float("-inf"))
    # The softmax in place of its logits; a row that sees nothing gives nothing.
    best = logits.amax(-1, keepdim=True).clamp_min_(torch.finfo(logits.dtype).min)
    sums = logits.sub_(best).exp_().sum(-1, keepdim=True)
    folded_weights = logits.view(batch, kv_heads, heads // kv_heads, rows, keys)
    output = torch.einsum("bkgrc,bkcd->bkgrd", folded_weights, value.float())
    output = output.reshape(batch, heads, rows, value.shape[3]).div_(sums.clamp_min(torch.finfo(sums.dtype).tiny))
    return output.to(query.dtype), best.add_(sums.log_())[..., 0]


class Merged:
    """A running softmax over pieces: exact, in float32, whatever the order."""

    def __init__(self) -> None:
        self._output: Tensor | None = None
        self._lse: Tensor | None = None

    def add(self, output: Tensor, lse: Tensor) -> None:
        """One more piece for the same queries."""
        if self._output is None or self._lse is None:
            self._output, self._lse = output, lse
            return
        total = torch.logaddexp(self._lse, lse)
        weight = torch.exp(lse - total)[..., None]
        self._output, self._lse = self._output.float(), total
        for mine, other, share in zip(self._output.split(ROWS, 2), output.split(ROWS, 2), weight.split(ROWS, 2), strict=True):
            mine.lerp_(other.float(), share)

    def pair(self) -> tuple[Tensor, Tensor]:
        """The merged output and its log-sum-exp."""
        if self._output is None or self._lse is None:
            raise ValueError("no piece was added")
        return self._output, self._lse

    def result(self, sink: Tensor | None = None) -> Tensor:
        """The merged output; ``sink`` is one more logit per head, (heads,), that takes weight and gives nothing."""
        output, lse = self.pair()
        if sink is None:
            return output
        share = torch.exp(lse - torch.logaddexp(lse, sink.float()[None, :, None]))[..., None]
        for some, own in zip(output.split(ROWS, 2), share.split(ROWS, 2), strict=True):
            some.copy_(some.float().mul_(own))
        return output
