"""One decoder for every family: embedding, layers, last norm, head."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ullage.engines.runtime.transient import ROWS
from ullage.frozen import dataclass
from ullage.runtime.attend.step import Step
from ullage.runtime.linear.form import Linear
from ullage.runtime.model.attention import Attention, Turned
from ullage.runtime.model.embedding import Embedding
from ullage.runtime.model.latent import LatentAttention
from ullage.runtime.model.norms import NormLayer


class FeedForward(Protocol):
    """The second part of a layer. ``rows``: how many it is given at a time."""

    rows: int

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, hidden) to (rows, hidden)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One layer. ``after_attention`` and ``after_feed_forward`` are norms of a part's result (Gemma); None where there are none.

    Without ``before_feed_forward`` both parts read the same norm, and are added together. Whatever is as wide as a layer is made for a
    few rows at a time and added to ``hidden`` in place: the peak of a step is the formula of `engines.runtime.transient`.
    """

    before_attention: NormLayer
    attention: Attention | LatentAttention
    after_attention: NormLayer | None
    before_feed_forward: NormLayer | None
    feed_forward: FeedForward
    after_feed_forward: NormLayer | None
    residual_scale: float = 1.0

    def __call__(self, hidden: Tensor, step: Step, turned: Turned) -> Tensor:
        """(rows, hidden), changed in place."""
        found = self.attention(hidden, self.before_attention, step, turned)
        if self.before_feed_forward is None:
            for part, change in zip(hidden.split(self.feed_forward.rows), found.split(self.feed_forward.rows), strict=True):
                part.add_(self.feed_forward(self.before_attention(part)).add_(change))
            return hidden
        for part, change in zip(hidden.split(ROWS), found.split(ROWS), strict=True):
            part.add_(self._scaled(change, self.after_attention))
        del found, change
        for part in hidden.split(self.feed_forward.rows):
            part.add_(self._scaled(self.feed_forward(self.before_feed_forward(part)), self.after_feed_forward))
        return hidden

    def _scaled(self, found: Tensor, norm: NormLayer | None) -> Tensor:
        if norm is not None:
            found = norm(found)
        return found if self.residual_scale == 1.0 else found * self.residual_scale


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stage:
    """Layers one after another on one device, with the bytes of all weights that lie there."""

    device: torch.device
    blocks: tuple[Block, ...]
    weight_bytes: int


class Decoder:
    """A model whose weights are where they stay. Hidden rows go from one device to the next, and nothing else does."""

    def __init__(
        self,
        *,
        embedding: Embedding,
        stages: Sequence[Stage],
        norm: NormLayer,
        head: Linear,
        embedding_scale: float,
        logit_scale: float,
        softcap: float | None,
    ) -> None:
        self._embedding, self.stages, self._norm, self._head = embedding, tuple(stages), norm, head
        self._embedding_scale, self._logit_scale, self._softcap = embedding_scale, logit_scale, softcap
        self.weight_bytes = sum(stage.weight_bytes for stage in self.stages)

    def __call__(self, step: Step) -> Tensor:
        """Run one step and return the logits of the rows that want them, (rows, vocabulary), in float32."""
        hidden = self._embedding(step.token_ids)
        if self._embedding_scale != 1.0:
            hidden.mul_(hidden.new_tensor(self._embedding_scale))
        for stage in self.stages:
            hidden = hidden.to(stage.device)
            turned = Turned(step, hidden)
            for block in stage.blocks:
                block(hidden, step, turned)
            del turned
        wanted = self._norm(hidden.index_select(0, step.logit_rows.to(hidden.device)))
        del hidden
        logits = self._head(wanted).float()
        if self._logit_scale != 1.0:
            logits.mul_(self._logit_scale)
        return logits if self._softcap is None else logits.div_(self._softcap).tanh_().mul_(self._softcap)
