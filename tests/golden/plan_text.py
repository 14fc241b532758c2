"""A plan as a few lines that a person can compare: the ledger in MiB, the verdict, what the cache holds, and the command."""

from itertools import groupby

from ullage.domain.ledger import Amount, Entry, Join, Ledger
from ullage.domain.plan import Capacity, Command, Plan
from ullage.units import MiB

LINES_OF_A_FILE = 30


def plan_text(plan: Plan) -> str:
    """Verdict, ledger, capacity and command; devices that hold the same are shown once."""
    lines = [
        f"{plan.case.engine} {plan.case.version}: {plan.verdict.value}" + (f", {plan.limit.value} is short" if plan.limit else ""),
        *(f"refuses: {objection.text}" for objection in plan.objections),
        "MiB: low, expected, high; * the engine's own budget knows it",
        *_ledger(plan.ledger),
        *(_capacity(plan.capacity) if plan.capacity else ()),
        *_command(plan.command),
    ]
    return "\n".join(line.rstrip() for line in lines)


def _ledger(ledger: Ledger) -> list[str]:
    devices = list(dict.fromkeys(entry.device for entry in ledger.entries))
    pages = [(device, _page(ledger.on(device), ledger.joins, ledger.peak(device), device)) for device in devices]
    lines: list[str] = []
    for page, group in groupby(pages, key=lambda item: item[1]):
        alike = [device for device, _ in group]
        lines += [alike[0] if len(alike) == 1 else f"{alike[0]} to {alike[-1]}", *page]
    return lines


def _page(entries: tuple[Entry, ...], joins: tuple[Join, ...], peak: Amount, device: str) -> tuple[str, ...]:
    phases: dict[tuple[str, Amount, bool], list[str]] = {}
    for entry in entries:
        phases.setdefault((entry.purpose, entry.amount, entry.budgeted), []).append(entry.phase)
    rows = [f"  {purpose:<13} {'+'.join(of):<13} {_mib(amount)}{' *' if known else ''}" for (purpose, amount, known), of in phases.items()]
    rows += [f"  {'budget':<27} {join.nbytes / MiB:32,.1f}" for join in joins if join.device == device]
    return (*rows, f"  {'peak':<27} {_mib(peak)}")


def _mib(amount: Amount) -> str:
    return " ".join(f"{part / MiB:10,.1f}" for part in (amount.low, amount.expected, amount.high))


def _capacity(held: Capacity) -> list[str]:
    counts = (
        ("blocks", held.kv_blocks),
        ("tokens", held.kv_tokens),
        ("longest sequence", held.max_context_tokens),
        ("sequences", held.max_sequences),
    )
    return [
        f"cache: {held.kv_bytes_per_token:,} bytes a token, blocks of {held.block_tokens:,}, {held.needed_bytes / MiB:,.1f} MiB asked for",
        *(f"  {name:<27} {part.low:>10,} {part.expected:>10,} {part.high:>10,}" for name, part in counts),
    ]


def _command(command: Command) -> list[str]:
    lines = [f"{name}={value}" for name, value in command.environment]
    lines += ["$ " + _wrapped(command.argv)]
    for name, content in command.files:
        rows = content.splitlines()
        lines += [f"{name}, {len(rows)} lines:", *(f"  {line}" for line in rows[:LINES_OF_A_FILE])]
    return lines


def _wrapped(argv: tuple[str, ...]) -> str:
    """One option a line."""
    return " ".join(f"\\\n    {word}" if word.startswith("--") else word for word in argv)
