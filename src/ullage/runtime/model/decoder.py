"""One decoder for every family: embedding, layers, last norm, head."""

from collections.abc import Callable, Sequence

from torch import Tensor

from ullage.frozen import dataclass
from ullage.runtime.attend.step import Step
from ullage.runtime.linear.form import Linear
from ullage.runtime.model.attention import Attention, Turned
from ullage.runtime.model.embedding import Embedding
from ullage.runtime.model.norms import NormLayer

FeedForward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One layer. ``after_attention`` and ``after_feed_forward`` are norms of a part's result (Gemma); None where there are none.

    A ``parallel`` layer has one norm that both parts read.
    """

    before_attention: NormLayer
    attention: Attention
    after_attention: NormLayer | None
    before_feed_forward: NormLayer | None
    feed_forward: FeedForward
    after_feed_forward: NormLayer | None
    residual_scale: float = 1.0

    def __call__(self, hidden: Tensor, step: Step, turned: Turned) -> Tensor:
        """(rows, hidden) to (rows, hidden)."""
        read = self.before_attention(hidden)
        found = self.attention(read, step, turned)
        if self.before_feed_forward is None:
            return hidden + (found + self.feed_forward(read))
        hidden = hidden + self._scaled(found, self.after_attention)
        found = self.feed_forward(self.before_feed_forward(hidden))
        return hidden + self._scaled(found, self.after_feed_forward)

    def _scaled(self, found: Tensor, norm: NormLayer | None) -> Tensor:
        if norm is not None:
            found = norm(found)
        return found if self.residual_scale == 1.0 else found * self.residual_scale


class Decoder:
    """A model whose weights are where they stay."""

    def __init__(
        self,
        *,
        embedding: Embedding,
        blocks: Sequence[Block],
        norm: NormLayer,
        head: Linear,
        embedding_scale: float,
        logit_scale: float,
        softcap: float | None,
        weight_bytes: int,
    ) -> None:
        self._embedding, self._blocks, self._norm, self._head = embedding, tuple(blocks), norm, head
        self._embedding_scale, self._logit_scale, self._softcap = embedding_scale, logit_scale, softcap
        self.weight_bytes = weight_bytes

    def __call__(self, step: Step) -> Tensor:
        """Run one step and return the logits of the rows that want them, (rows, vocabulary), in float32."""
        hidden = self._embedding(step.token_ids)
        if self._embedding_scale != 1.0:
            hidden = hidden * hidden.new_tensor(self._embedding_scale)
        turned = Turned(step, hidden)
        for block in self._blocks:
            hidden = block(hidden, step, turned)
        wanted = self._norm(hidden.index_select(0, step.logit_rows))
        logits = self._head(wanted).float()
        if self._logit_scale != 1.0:
            logits = logits * self._logit_scale
        return logits if self._softcap is None else (logits / self._softcap).tanh_().mul_(self._softcap)
