"""A mixture of experts: the router, the experts a token goes to, and the shared one that all tokens pass."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ullage.runtime.linear.form import Linear
from ullage.runtime.model.feed_forward import DenseMlp
from ullage.runtime.model.traits import Routing, Scoring


class Router:
    """Scores of every expert and the choice among them."""

    def __init__(self, weight: Tensor, bias: Tensor | None, correction: Tensor | None, routing: Routing, picked: int) -> None:
        self._weight, self._bias, self._correction = weight, bias, correction
        self._routing, self._picked = routing, picked
        self.nbytes = sum(tensor.nbytes for tensor in (weight, bias, correction) if tensor is not None)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of (rows, hidden): the experts picked, (rows, picked), and their weights in float32."""
        logits = functional.linear(x.to(self._weight.dtype), self._weight, self._bias).float()
        routing = self._routing
        if routing.scoring is Scoring.SOFTMAX_PICKED:
            values, experts = logits.topk(self._picked, -1)
            return experts, values.softmax(-1)
        scores = logits.sigmoid() if routing.scoring is Scoring.SIGMOID else logits.softmax(-1)
        choice = scores if self._correction is None else scores + self._correction
        if routing.picked_groups < routing.groups:
            choice = self._in_best_groups(choice)
        experts = choice.topk(self._picked, -1, sorted=False).indices
        weights = scores.gather(-1, experts)
        if routing.normalised:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return experts, weights * routing.factor

    def _in_best_groups(self, choice: Tensor) -> Tensor:
        """Scores outside the best groups become zero, as the families' own code has it."""
        routing = self._routing
        grouped = choice.view(choice.shape[0], routing.groups, -1)
        best = grouped.topk(routing.group_score, -1).values.sum(-1).topk(routing.picked_groups, -1, sorted=False).indices
        kept = torch.zeros(grouped.shape[:2], dtype=torch.bool, device=choice.device).scatter_(1, best, value=True)
        return grouped.masked_fill(~kept[..., None], 0.0).view_as(choice)


class Mixture:
    """The routed experts, and what every token passes beside them."""

    def __init__(
        self, router: Router, experts: Sequence[DenseMlp], *, shared: DenseMlp | None, shared_gate: Linear | None, rows: int
    ) -> None:
        self._router, self._experts, self._shared, self._shared_gate = router, tuple(experts), shared, shared_gate
        self.rows = rows
        self.nbytes = router.nbytes + sum(expert.nbytes for expert in experts)
        self.nbytes += (shared.nbytes if shared else 0) + (shared_gate.nbytes if shared_gate else 0)

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, hidden) to (rows, hidden). Only experts that some row picked are touched, one after another."""
        picked, weights = self._router(x)
        per_row = picked.shape[1]
        order = picked.flatten().argsort(stable=True)
        counts = torch.bincount(picked.flatten(), minlength=len(self._experts)).tolist()
        rows = order // per_row
        scale = weights.flatten()[order].to(x.dtype)[:, None]
        output = torch.zeros_like(x)
        start = 0
        for expert, count in enumerate(counts):
            if count:
                mine = rows[start : start + count]
                output.index_add_(0, mine, self._experts[expert](x[mine]).mul_(scale[start : start + count]))
                start += count
        if self._shared is not None:
            always = self._shared(x)
            if self._shared_gate is not None:
                always = always * self._shared_gate(x).sigmoid()
            output += always
        return output
