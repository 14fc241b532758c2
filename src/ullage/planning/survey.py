"""Lengths as they come, gathered in bounded memory: quantiles of each, and the joint distribution of prompts and answers."""

from collections.abc import Mapping
from itertools import pairwise

from ullage.domain.survey import Spread
from ullage.domain.workload import LengthBin, Lengths

FINE_BITS = 11  # of a length, of which the rest is rounded up: 2,047 and less are exact, others within a thousandth
MOST_BINS = 1024
_COARSE_BITS = 5  # of both lengths of a bin at first; fewer until there are no more than MOST_BINS
_BARS = 12


def rounded_up(tokens: int, bits: int) -> int:
    """The smallest number of so many significant bits that is not below ``tokens``."""
    drop = max(0, tokens.bit_length() - bits)
    return -(-tokens >> drop) << drop


class Tally:
    """Counts of one length."""

    def __init__(self) -> None:
        self.count = self.sum = self.most = 0
        self.least: int | None = None
        self._counts: dict[int, int] = {}

    def add(self, tokens: int) -> None:
        """Count one."""
        self.count += 1
        self.sum += tokens
        self.most = max(self.most, tokens)
        self.least = tokens if self.least is None else min(self.least, tokens)
        key = rounded_up(tokens, FINE_BITS)
        self._counts[key] = self._counts.get(key, 0) + 1

    def spread(self) -> Spread:
        """What was counted."""
        ordered = sorted(self._counts.items())
        return Spread(
            count=self.count,
            mean=round(self.sum / self.count, 1) if self.count else 0.0,
            least=self.least or 0,
            p50=self._quantile(ordered, 0.5),
            p90=self._quantile(ordered, 0.9),
            p95=self._quantile(ordered, 0.95),
            p99=self._quantile(ordered, 0.99),
            most=self.most,
            bars=_bars(self._counts, self.least or 0, self.most),
        )

    def _quantile(self, ordered: list[tuple[int, int]], fraction: float) -> int:
        """The smallest length that this share of them does not pass."""
        left = fraction * self.count
        for tokens, count in ordered:
            left -= count
            if left <= 1e-9 * self.count:
                return min(tokens, self.most)
        return self.most


def _bars(counts: Mapping[int, int], least: int, most: int) -> tuple[tuple[int, int, int], ...]:
    """A histogram: steps that double where lengths are spread wide, of one size where they are not."""
    if most - least < _BARS:
        edges = list(range(least, most + 2))
    elif most < 16 * max(1, least):
        step = -(-(most - least + 1) // _BARS)
        edges = list(range(least, most + step + 1, step))
    else:
        low = 1 << max(0, most.bit_length() - _BARS + 1)
        edges = [0, *(low << at for at in range(most.bit_length() - low.bit_length() + 2))]
    found = [
        (start, end, sum(count for tokens, count in counts.items() if start <= min(tokens, most) < end)) for start, end in pairwise(edges)
    ]
    while found and not found[-1][2]:
        found.pop()
    while found and not found[0][2]:
        found.pop(0)
    return tuple(found)


class JointTally:
    """Counts of prompts and answers together, as coarse as is needed to stay small."""

    def __init__(self) -> None:
        self._bits = _COARSE_BITS
        self._bins: dict[tuple[int, int], tuple[int, int, int]] = {}
        self._longest = (0, 0, 0)

    def add(self, prompt_tokens: int, output_tokens: int) -> None:
        """Count one request."""
        prompt, output, total = self._longest
        self._longest = max(prompt, prompt_tokens), max(output, output_tokens), max(total, prompt_tokens + output_tokens)
        self._put(prompt_tokens, output_tokens, 1)
        while len(self._bins) > 4 * MOST_BINS and self._bits > 1:
            self._coarsen()

    def _put(self, prompts: int, outputs: int, requests: int) -> None:
        """``prompts`` and ``outputs`` are sums over the requests."""
        key = rounded_up(prompts // requests, self._bits), rounded_up(outputs // requests, self._bits)
        before = self._bins.get(key, (0, 0, 0))
        self._bins[key] = before[0] + prompts, before[1] + outputs, before[2] + requests

    def _coarsen(self) -> None:
        self._bits -= 1
        bins, self._bins = self._bins, {}
        for one in bins.values():
            self._put(*one)

    def lengths(self) -> Lengths:
        """Bins at the mean of what is in them, rounded up."""
        while len(self._bins) > MOST_BINS and self._bits > 1:
            self._coarsen()
        bins = sorted((-(-prompts // count), -(-outputs // count), count) for prompts, outputs, count in self._bins.values())
        prompt, output, total = self._longest
        return Lengths(
            bins=tuple(LengthBin(*one) for one in bins),
            longest_prompt_tokens=prompt,
            longest_output_tokens=output,
            longest_total_tokens=total,
        )
