"""What became of every request: the last ones one by one, all of them as Prometheus counts."""

from collections import Counter, deque
from typing import Final

from ullage.domain.admission import State
from ullage.domain.guard import SERIES, GuardRecord
from ullage.world.proxy.journal import Journal

BUCKETS_S: Final = (0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0)


class Records:
    """A ring of the last requests, and counts that only grow."""

    def __init__(self, most: int, journal: Journal | None = None) -> None:
        self._journal = journal
        self.ring: deque[GuardRecord] = deque(maxlen=most)
        self._ends: Counter[str] = Counter()
        self._queued: Counter[float] = Counter()
        self._queue_s = 0.0
        self._tokens: Counter[str] = Counter()
        self._replays = self._ahead = 0

    def add(self, record: GuardRecord) -> None:
        """Count a request that has ended."""
        self.ring.append(record)
        if self._journal is not None:
            self._journal.add(record)
        self._ends[record.ended] += 1
        self._queued[next((edge for edge in BUCKETS_S if record.queue_s <= edge), float("inf"))] += 1
        self._queue_s += record.queue_s
        self._tokens["prompt"] += record.prompt_tokens
        self._tokens["answer"] += record.generated
        self._replays += record.replays
        self._ahead += record.ahead

    def page(self, state: State) -> str:
        """The counts, and what the guard holds now, as Prometheus text."""
        samples: dict[str, dict[str, float]] = {
            "requests_total": dict(sorted(self._ends.items())),
            "tokens_total": dict(sorted(self._tokens.items())),
            "replays_total": {"": self._replays},
            "ahead_total": {"": self._ahead},
            "in_flight_requests": {"": len(state.in_flight)},
            "in_flight_sequences": {"": state.sequences},
            "allowed_sequences": {"": state.allowed},
            "waiting_requests": {"": len(state.waiting) + len(state.replays)},
            "reserved_bytes": {"": state.reserved_bytes},
            "pool_bytes": {"": state.cost.pool_bytes},
            "engine_up": {"": int(state.up)},
        }
        lines = []
        for one in SERIES:
            lines += [f"# HELP {one.name} {one.help}", f"# TYPE {one.name} {one.kind}"]
            if one.kind == "histogram":
                lines += self._histogram(one.name)
            else:
                found = samples[one.name.removeprefix("ullage_guard_")].items()
                lines += [f'{one.name}{{{one.label}="{value}"}} {number}' if value else f"{one.name} {number}" for value, number in found]
        return "\n".join(lines) + "\n"

    def _histogram(self, name: str) -> list[str]:
        lines, below = [], 0
        for edge in (*BUCKETS_S, float("inf")):
            below += self._queued[edge]
            word = "+Inf" if edge == float("inf") else f"{edge:g}"
            lines.append(f'{name}_bucket{{le="{word}"}} {below}')
        return [*lines, f"{name}_sum {self._queue_s:.6f}", f"{name}_count {below}"]
