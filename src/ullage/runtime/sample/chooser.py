"""What choosing the tokens of one request remembers: its random numbers, what it has seen, its mask."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ullage.runtime.sample.settings import Sampling


class TokenMask(Protocol):
    """Which tokens may come next: constrained output. One per request; the engine's thread alone calls it."""

    def restrict(self, logits: Tensor) -> None:
        """Set what may not come to minus infinity, in place; (vocabulary,), float32."""

    def accept(self, token: int) -> None:
        """The token that was chosen."""


class Chooser:
    """The state of one request. It depends on nothing but the request and its own tokens, so company changes no answer."""

    def __init__(
        self, sampling: Sampling, prompt: Sequence[int], mask: TokenMask | None = None, ends: Collection[int] = (), least: int = 0
    ) -> None:
        """``ends`` are the tokens that are not chosen before ``least`` others."""
        self.sampling, self.mask = sampling, mask
        self._ends, self._owed = sorted(ends), least if ends else 0
        self.changes_logits = self.sampling.moves_logits or self.mask is not None or self._owed > 0
        self.is_plain = self.sampling.is_greedy and not self.changes_logits and self.sampling.logprobs is None
        self._counts: Counter[int] = Counter()
        self._counting = self.sampling.moves_logits
        repeats = sampling.repetition_penalty != 1.0
        self._in_prompt = frozenset(prompt) if repeats else frozenset()
        self._prompt = torch.tensor(sorted(self._in_prompt)) if repeats else None
        self._random: torch.Generator | None = None

    def uniform(self) -> float:
        """The next random number, from 0 up to but not 1."""
        if self._random is None:
            self._random = torch.Generator()
            if self.sampling.seed is None:
                self._random.seed()
            else:
                self._random.manual_seed(self.sampling.seed)
        return float(torch.rand((), dtype=torch.float64, generator=self._random))

    def change(self, logits: Tensor) -> str:
        """Penalties, biases, ends that come too early and the mask on one row, (vocabulary,), in place; what went wrong, or nothing."""
        wish = self.sampling
        if self._prompt is not None:
            new = [token for token in self._counts if token not in self._in_prompt]
            self._scale(logits, self._prompt, wish.repetition_penalty)
            self._scale(logits, torch.tensor(new, dtype=torch.long), wish.repetition_penalty)
        if self._counts and (wish.presence_penalty or wish.frequency_penalty):
            seen = torch.tensor(list(self._counts), device=logits.device)
            times = torch.tensor(list(self._counts.values()), dtype=logits.dtype, device=logits.device)
            logits[seen] -= wish.presence_penalty + wish.frequency_penalty * times
        if wish.logit_bias:
            tokens, biases = zip(*wish.logit_bias, strict=True)
            logits.index_add_(0, torch.tensor(tokens, device=logits.device), torch.tensor(biases, dtype=logits.dtype, device=logits.device))
        if self._owed > 0:
            logits[[token for token in self._ends if token < len(logits)]] = float("-inf")
        if self.mask is not None:
            try:
                self.mask.restrict(logits)
            except Exception as error:  # noqa: BLE001 - as below
                return f"the mask failed: {error}"
        return ""

    def _scale(self, logits: Tensor, tokens: Tensor, penalty: float) -> None:
        tokens = tokens.to(logits.device)
        values = logits[tokens]
        logits[tokens] = torch.where(values > 0, values / penalty, values * penalty)

    def took(self, token: int) -> str:
        """The token that was chosen; what is wrong with it, or nothing."""
        self._owed -= 1
        if self._counting:
            self._counts[token] += 1
        if self.mask is not None:
            try:
                self.mask.accept(token)
            except Exception as error:  # noqa: BLE001 - a mask comes with its request, and must end no other
                return f"the mask does not take token {token}: {error}"
        return ""
