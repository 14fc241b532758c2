"""A mixture of experts: the router, the experts a token goes to, and the shared one that all tokens pass."""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ullage.engines.runtime.transient import ROWS
from ullage.runtime.linear.form import Linear
from ullage.runtime.model.feed_forward import DenseMlp
from ullage.runtime.model.traits import Routing, Scoring


class Router:
    """Scores of every expert and the choice among them. ``correction`` is added to scores for the choice alone."""

    def __init__(self, weight: Tensor, bias: Tensor | None, correction: Tensor | None, routing: Routing, picked: int) -> None:
        self._weight, self._bias, self._correction = weight, bias, correction
        self._routing, self._picked = routing, picked
        self.nbytes = sum(tensor.nbytes for tensor in (weight, bias, correction) if tensor is not None)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of (rows, hidden): the experts picked, (rows, picked), and their weights in float32."""
        routing = self._routing
        logits = self._logits(x)
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

    def _logits(self, x: Tensor) -> Tensor:
        if self._routing.in_float:
            return functional.linear(x.float(), self._weight.float(), None if self._bias is None else self._bias.float())
        return functional.linear(x, self._weight, self._bias).float()

    def _in_best_groups(self, choice: Tensor) -> Tensor:
        """No expert outside the best groups is picked."""
        routing = self._routing
        grouped = choice.view(choice.shape[0], routing.groups, -1)
        best = grouped.topk(routing.group_score, -1).values.sum(-1).topk(routing.picked_groups, -1, sorted=False).indices
        kept = torch.zeros(grouped.shape[:2], dtype=torch.bool, device=choice.device).scatter_(1, best, value=True)
        return grouped.masked_fill(~kept[..., None], float("-inf")).view_as(choice)


class Experts(Protocol):
    """The experts of a layer, each of which can be asked for where it is computed. ``nbytes``: all of them, wherever they lie."""

    nbytes: int

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, index: int, /) -> DenseMlp:
        """One of them, to be used before the next is asked for."""


class Resident:
    """Experts that stay where they are computed."""

    def __init__(self, experts: tuple[DenseMlp, ...]) -> None:
        self._experts = experts
        self.nbytes = sum(expert.nbytes for expert in experts)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._experts)

    def __getitem__(self, index: int, /) -> DenseMlp:
        """One of them."""
        return self._experts[index]


class Mixture:
    """The routed experts, and what every token passes beside them. ``shared_gate`` weighs the shared expert for each token.

    Rows are sorted by expert, so that each expert that some row picked is touched once and multiplies all its rows; what is as wide as an
    expert is made for ``ROWS`` rows at a time. ``rows``: how many it is given, so that an expert has rows enough to be worth reading.
    """

    def __init__(self, router: Router, experts: Experts, *, shared: DenseMlp | None, shared_gate: Linear | None, rows: int) -> None:
        self._router, self._experts, self._shared, self._shared_gate = router, experts, shared, shared_gate
        self.rows = rows
        self.nbytes = router.nbytes + experts.nbytes
        self.nbytes += (shared.nbytes if shared else 0) + (shared_gate.nbytes if shared_gate else 0)

    def __call__(self, x: Tensor) -> Tensor:
        """(rows, hidden) to (rows, hidden)."""
        output = torch.zeros_like(x)
        if self._shared is not None:
            for part, rows in zip(output.split(ROWS), x.split(ROWS), strict=True):
                part.copy_(self._always(rows))
        self._add_picked(x, output)
        return output

    def _always(self, x: Tensor) -> Tensor:
        assert self._shared is not None  # noqa: S101 - told by the caller
        found = self._shared(x)
        return found if self._shared_gate is None else found.mul_(self._shared_gate(x).sigmoid_())

    def _add_picked(self, x: Tensor, output: Tensor) -> None:
        mine, weights, counts = self._sorted(x)
        start = 0
        for index, count in enumerate(counts):
            if not count:
                continue
            expert, end = self._experts[index], start + count
            for rows, own in zip(mine[start:end].split(ROWS), weights[start:end].split(ROWS), strict=True):
                output.index_add_(0, rows, expert(x.index_select(0, rows)).mul_(own))
            start = end

    def _sorted(self, x: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        """The row and the weight, (, 1), of every pair of a row and an expert, expert after expert; how many pairs each expert has."""
        chosen = [self._router(part) for part in x.split(ROWS)]
        picked, weights = torch.cat([experts for experts, _ in chosen]), torch.cat([own for _, own in chosen])
        flat = picked.flatten()
        order = flat.argsort(stable=True)
        counts: list[int] = torch.bincount(flat, minlength=len(self._experts)).tolist()
        return order // picked.shape[1], weights.flatten()[order].to(x.dtype)[:, None], counts
