"""Tokens from logits, the rows of a step together."""

from collections.abc import Sequence
from math import isfinite

import torch
from torch import Tensor

from ullage.frozen import dataclass, replace
from ullage.runtime.sample.chooser import Chooser
from ullage.runtime.sample.logprobs import Logprobs, logprobs_of

_HEAD = 1024  # best tokens that are sorted to find the cut of top_p; the whole row is where they are not enough


@dataclass(frozen=True, slots=True)
class Choice:
    """The next token of one row; ``problem`` says why there is none."""

    token: int
    logprobs: Logprobs | None = None
    problem: str = ""


def choose(logits: Tensor, choosers: Sequence[Chooser]) -> list[Choice]:
    """The next token of every row of (rows, vocabulary) float32, and what was asked about it. Rows do not influence one another."""
    if all(chooser.is_plain for chooser in choosers):
        return _best(logits)
    changed = logits
    problems: dict[int, str] = {}
    if any(chooser.changes_logits for chooser in choosers):
        changed = logits.clone() if any(chooser.sampling.logprobs is not None for chooser in choosers) else logits
        problems = {row: chooser.change(changed[row]) for row, chooser in enumerate(choosers) if chooser.changes_logits}
    choices = [replace(choice, problem=problems.get(row) or choice.problem) for row, choice in enumerate(_best(changed))]
    drawing = [row for row, chooser in enumerate(choosers) if not chooser.sampling.is_greedy and not choices[row].problem]
    cut = [row for row in drawing if choosers[row].sampling.top_k or choosers[row].sampling.top_p < 1.0]
    for rows, draw in (([row for row in drawing if row not in cut], _draw_from_all), (cut, _draw_from_best)):
        if rows:
            drawn = draw(changed[rows] if len(rows) < len(choosers) else changed, [choosers[row] for row in rows])
            for row, token in zip(rows, drawn, strict=True):
                choices[row] = Choice(token)
    return [
        choice
        if choice.problem or (top := chooser.sampling.logprobs) is None
        else Choice(choice.token, logprobs_of(logits[row], choice.token, top))
        for row, (choice, chooser) in enumerate(zip(choices, choosers, strict=True))
    ]


def _best(logits: Tensor) -> list[Choice]:
    best = logits.max(-1)
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [Choice(token) if isfinite(value) else Choice(token, None, f"the best logit is {value}") for token, value in pairs]


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]


def _weights(logits: Tensor, choosers: Sequence[Chooser], best: Tensor) -> Tensor:
    """Weights of tokens, the best one's being 1; those under ``min_p`` are 0. ``best`` is each row's largest logit, (rows, 1)."""
    temperatures = _column([chooser.sampling.temperature for chooser in choosers], logits)
    weights = torch.exp((logits - best) / temperatures)
    least = [chooser.sampling.min_p for chooser in choosers]
    return weights.masked_fill_(weights < _column(least, weights), 0.0) if any(least) else weights


def _picked(weights: Tensor, choosers: Sequence[Chooser]) -> Tensor:
    """The column that each row's random number falls on, (rows, 1)."""
    sums = weights.cumsum(-1, dtype=torch.float64)
    at = _column([chooser.uniform() for chooser in choosers], sums) * sums[:, -1:]
    return torch.searchsorted(sums, at, right=True).clamp_(max=weights.shape[1] - 1)


def _draw_from_all(logits: Tensor, choosers: Sequence[Chooser]) -> list[int]:
    picked: list[int] = _picked(_weights(logits, choosers, logits.amax(-1, keepdim=True)), choosers)[:, 0].tolist()
    return picked


def _draw_from_best(logits: Tensor, choosers: Sequence[Chooser]) -> list[int]:
    vocabulary = logits.shape[1]
    found: dict[int, int] = {}
    widths = [_width(chooser, vocabulary) for chooser in choosers]
    for width in sorted(set(widths)):  # a row's company must not change its width: sums of another width round differently
        rows = [row for row, own in enumerate(widths) if own == width]
        found |= dict(zip(rows, _draw_from_head(logits[rows], [choosers[row] for row in rows], width), strict=True))
    return [found[row] for row in range(len(choosers))]


def _width(chooser: Chooser, vocabulary: int) -> int:
    top_k = chooser.sampling.top_k
    return min(vocabulary, max(_HEAD, top_k))


def _draw_from_head(logits: Tensor, choosers: Sequence[Chooser], width: int) -> list[int]:
    """Draws from the ``width`` best tokens; rows whose top_p reaches further draw from all of them sorted."""
    values, ids = logits.topk(width)
    best = values[:, :1]
    temperatures = _column([chooser.sampling.temperature for chooser in choosers], logits)
    weights = torch.exp((values - best) / temperatures)
    ranks = torch.arange(width, device=logits.device)[None]
    top_k = torch.tensor([chooser.sampling.top_k or logits.shape[1] for chooser in choosers], device=logits.device)[:, None]
    weights.masked_fill_(ranks >= top_k, 0.0)
    sums = weights.cumsum(-1, dtype=torch.float64)
    whole = torch.exp((logits - best) / temperatures).sum(-1, keepdim=True, dtype=torch.float64)
    whole = torch.where(top_k <= width, sums[:, -1:], whole)
    share = _column([chooser.sampling.top_p for chooser in choosers], sums) * whole
    enough = (sums[:, -1:] >= share) | (top_k <= width)
    kept = weights.masked_fill(sums - weights >= share, 0.0)
    kept[:, 0] = 1.0
    least = _column([chooser.sampling.min_p for chooser in choosers], weights)
    kept.masked_fill_(kept < least, 0.0)
    short = [row for row, is_enough in enumerate(enough[:, 0].tolist()) if not is_enough and width < logits.shape[1]]
    fine = [row for row in range(len(choosers)) if row not in short]
    tokens = dict.fromkeys(range(len(choosers)), 0)
    if fine:
        picked = _picked(kept[fine], [choosers[row] for row in fine])
        tokens |= dict(zip(fine, ids[fine].gather(1, picked)[:, 0].tolist(), strict=True))
    if short:
        tokens |= dict(zip(short, _draw_from_head(logits[short], [choosers[row] for row in short], logits.shape[1]), strict=True))
    return [tokens[row] for row in range(len(choosers))]
