"""Lines of this engine's ledgers."""

from ullage.domain.ledger import Amount, Entry, Phase, Purpose, amount_of
from ullage.domain.machine import Device
from ullage.domain.provenance import EXACT, FORMULA, Constant, Origin


def entry(
    device: str,
    purpose: Purpose,
    amount: Amount,
    because: str,
    *,
    phase: Phase = Phase.RESIDENT,
    budgeted: bool = False,
    origin: Origin = FORMULA,
) -> Entry:
    """One line; resident unless said."""
    return Entry(device=device, purpose=purpose, phase=phase, amount=amount, budgeted=budgeted, because=because, origin=origin)


def constant(device: str, purpose: Purpose, known: Constant, because: str) -> Entry:
    """A resident line that is a constant with its range."""
    return entry(device, purpose, amount_of(known), because, origin=known.origin)


def others(device: Device) -> tuple[Entry, ...]:
    """What other processes hold, where it was stated."""
    held = Amount.exactly(device.reserved_bytes)
    return (entry(device.id, Purpose.OTHERS, held, "held by other processes", origin=EXACT),) if device.reserved_bytes else ()
