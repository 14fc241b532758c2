"""What the server counts, and its page for Prometheus."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from ullage.runtime.engine import Stats

PREFIX = "ullage_runtime"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Histogram:
    """Seconds in buckets."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_SECONDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """One more."""
        self._counts[bisect_left(_SECONDS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str) -> Iterator[str]:
        """As Prometheus reads it."""
        total = 0
        for bound, count in zip((*map(str, _SECONDS), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """Of the whole server, since it began."""

    def __init__(self) -> None:
        self.first_token, self.next_token, self.whole = Histogram(), Histogram(), Histogram()
        self.ended: Counter[tuple[str, str]] = Counter()  # answers by path and how they ended

    def page(self, stats: Stats, *, promised: Mapping[str, int], seen: Mapping[str, int]) -> str:
        """The page. ``promised`` and ``seen`` are bytes by purpose."""
        return "\n".join([*self._of_engine(stats), *self._of_memory(promised, seen), *self._of_requests(), ""])

    def _of_engine(self, stats: Stats) -> Iterator[str]:
        gauges = {
            "cache_budget_bytes": (stats.budget_bytes, "bytes that pages may take"),
            "cache_used_bytes": (stats.used_bytes, "bytes of pages that sequences hold"),
            "cache_idle_bytes": (stats.idle_bytes, "bytes of pages kept in case a prompt comes again"),
            "cache_budget_tokens": (stats.budget_tokens, "tokens that have room in those pages"),
            "cache_longest_tokens": (stats.longest_tokens, "tokens of the longest sequence that fits alone"),
            "cache_used_tokens": (stats.used_tokens, "tokens of running sequences in the cache"),
            "swap_budget_bytes": (stats.swap_budget_bytes, "bytes of host memory for pages put aside"),
            "swap_used_bytes": (stats.swapped_bytes, "bytes of pages put aside"),
            "requests_waiting": (stats.waiting, "sequences in the queue"),
            "requests_running": (stats.running, "sequences in the batch"),
        }
        for name, (value, meaning) in gauges.items():
            yield from _family(name, "gauge", meaning, [("", value)])
        counters = {
            "steps": (stats.steps, "steps of the engine"),
            "prompt_tokens": (stats.prompt_tokens, "tokens of prompts that were computed"),
            "reused_tokens": (stats.reused_tokens, "tokens of prompts that were in the cache already"),
            "generated_tokens": (stats.generated_tokens, "tokens that were chosen"),
        }
        for name, (value, meaning) in counters.items():
            yield from _family(f"{name}_total", "counter", meaning, [("", value)])
        preempted = [('{how="recompute"}', stats.recomputed), ('{how="swap"}', stats.swapped)]
        yield from _family("preemptions_total", "counter", "sequences that had to give their pages away", preempted)
        finished = [(f'{{how="{how}"}}', times) for how, times in stats.finished]
        yield from _family("sequences_total", "counter", "sequences of the engine by how they ended", finished)

    def _of_memory(self, promised: Mapping[str, int], seen: Mapping[str, int]) -> Iterator[str]:
        for name, values, meaning in (("promised_bytes", promised, "bytes predicted"), ("seen_bytes", seen, "bytes there are now")):
            yield from _family(name, "gauge", f"{meaning}, by purpose", [(f'{{purpose="{key}"}}', value) for key, value in values.items()])

    def _of_requests(self) -> Iterator[str]:
        ended = [(f'{{path="{path}",how="{how}"}}', times) for (path, how), times in sorted(self.ended.items())]
        yield from _family("requests_total", "counter", "requests by how they ended", ended)
        for name, histogram, meaning in (
            ("first_token_seconds", self.first_token, "from the request to its first token"),
            ("next_token_seconds", self.next_token, "from one token to the next"),
            ("request_seconds", self.whole, "from the request to its end"),
        ):
            yield f"# HELP {PREFIX}_{name} {meaning}"
            yield f"# TYPE {PREFIX}_{name} histogram"
            yield from histogram.lines(f"{PREFIX}_{name}")


def _family(name: str, kind: str, meaning: str, samples: Iterable[tuple[str, int]]) -> Iterator[str]:
    yield f"# HELP {PREFIX}_{name} {meaning}"
    yield f"# TYPE {PREFIX}_{name} {kind}"
    for labels, value in samples:
        yield f"{PREFIX}_{name}{labels} {value}"
