"""Parts of a plan that reports name, as one amount, and cells of a report in bytes."""

from collections.abc import Iterable

from tests.accuracy.rows import Row

from ullage.domain.ledger import Amount, Purpose, total
from ullage.planning.fit import Outcome
from ullage.units import GiB


def gib_cell(row: Row, column: str) -> float | None:
    """A cell of GiB in bytes, or None."""
    value = row.number(column)
    return value * GiB if value is not None else None


def of_purposes(outcome: Outcome, purposes: Iterable[Purpose], devices: Iterable[str]) -> Amount:
    """What some purposes take on some devices, each once whatever its phases."""
    wanted = tuple(purposes)
    return total(_once(outcome, device, purpose) for device in devices for purpose in wanted)


def _once(outcome: Outcome, device: str, purpose: Purpose) -> Amount:
    """The largest of the phases: what lies there while loading and after is one thing."""
    found: dict[str, list[Amount]] = {}
    for entry in outcome.ledger.on(device):
        if entry.purpose is purpose:
            found.setdefault(entry.phase, []).append(entry.amount)
    sums = [total(amounts) for amounts in found.values()]
    return max(sums, key=lambda amount: amount.expected, default=Amount(0, 0, 0))
