"""A plan as a document: the verdict, every device, what the cache holds, the command, and what could be changed."""

from collections.abc import Iterable

from ullage.domain.ledger import Entry, Phase, Purpose
from ullage.domain.plan import Capacity, Command, DeviceVerdict, Plan, Remedy, Verdict
from ullage.frozen import replace
from ullage.report import document as doc
from ullage.units import format_bytes, format_count, format_gib

_WORDS = {
    Verdict.FITS: ("FITS", "good"),
    Verdict.TIGHT: ("TIGHT", "warn"),
    Verdict.DOES_NOT_FIT: ("DOES NOT FIT", "bad"),
    Verdict.REFUSED: ("REFUSED", "bad"),
}
_LEDGER = (
    doc.Column("purpose"),
    doc.Column("phase"),
    doc.Column("low", is_number=True),
    doc.Column("expected", is_number=True),
    doc.Column("high GiB", is_number=True),
    doc.Column("because"),
)


def verdict_word(verdict: Verdict) -> str:
    """The verdict as people read it."""
    return _WORDS[verdict][0]


def plan_document(plan: Plan, *, explain: bool = False) -> doc.Document:
    """One screen for people; ``explain`` adds every formula with its numbers and where each number is from."""
    word, mood = _WORDS[plan.verdict]
    return (
        doc.Verdict(word, plan.binding, mood),
        doc.Paragraph(_question(plan)),
        *_objections(plan),
        *_findings(plan),
        *(block for group in _groups(plan) for block in _device(plan, group)),
        *(_capacity(plan.capacity, plan) if plan.capacity is not None else ()),
        *_forecast(plan),
        *_command(plan.command),
        *_remedies(plan.remedies),
        *((doc.Heading("Notes"), doc.Items(plan.notes)) if plan.notes else ()),
        *_origins(plan),
        *(_explained(plan) if explain else ()),
    )


def _question(plan: Plan) -> str:
    case, model = plan.case, plan.case.model
    devices = plan.case.devices
    names = {device.name for device in devices}
    machine = f"{len(devices)} x {names.pop()}" if len(names) == 1 else ", ".join(device.name for device in devices)
    size = format_bytes(model.checkpoint.nbytes)
    how = "from its file headers" if model.checkpoint.exact else "by rule"
    return (
        f"{model.name}: {model.parameters / 1e9:.2f} billion parameters, {size} as {model.checkpoint.scheme} ({how}), "
        f"with {case.engine} {case.version} on {machine}"
    )


def _objections(plan: Plan) -> tuple[doc.Block, ...]:
    if not plan.objections:
        return ()
    said = tuple(
        sentence
        for objection in plan.objections
        for sentence in (f"it says: {objection.text}", f"because: {objection.why}", f"next: {objection.next_step}")
    )
    return (doc.Heading("The engine will not start"), doc.Items(said))


def _findings(plan: Plan) -> tuple[doc.Block, ...]:
    if not plan.findings:
        return ()
    said = tuple(f"{'wrong: ' if finding.wrong else ''}{finding.text}" for finding in plan.findings)
    return (doc.Heading("The command"), doc.Items(said))


def _likeness(plan: Plan, verdict: DeviceVerdict) -> tuple[object, ...]:
    """What makes two devices look the same in a report."""
    lines = tuple((entry.purpose, entry.phase, entry.amount, entry.because) for entry in plan.ledger.on(verdict.device))
    return (verdict.verdict, verdict.peak, verdict.total_bytes, lines)


def _groups(plan: Plan) -> tuple[tuple[DeviceVerdict, ...], ...]:
    """Devices that are alike, in order of the first of each kind."""
    groups: dict[tuple[object, ...], list[DeviceVerdict]] = {}
    for verdict in plan.devices:
        groups.setdefault(_likeness(plan, verdict), []).append(verdict)
    return tuple(tuple(group) for group in groups.values())


def _title(group: tuple[DeviceVerdict, ...]) -> str:
    ids = [verdict.device for verdict in group]
    if len(ids) == 1:
        return ids[0]
    stem = ids[0].rstrip("0123456789")
    first = int(ids[0].removeprefix(stem) or 0)
    in_row = ids == [f"{stem}{first + index}" for index in range(len(ids))]
    return f"{ids[0]}-{ids[-1]} ({len(ids)} alike)" if in_row else f"{', '.join(ids)} ({len(ids)} alike)"


def peak_phase(plan: Plan, device: str) -> Phase:
    """The phase in which most is alive on a device; of several, the one with the most entries."""
    return max(Phase, key=lambda phase: (plan.ledger.at(device, phase).expected, len(alive(plan, device, phase))))


def alive(plan: Plan, device: str, phase: Phase) -> tuple[Entry, ...]:
    """The entries alive on a device in a phase."""
    stays = phase is not Phase.LOAD
    return tuple(entry for entry in plan.ledger.on(device) if entry.phase is phase or (entry.phase is Phase.RESIDENT and stays))


def _segments(plan: Plan, device: str, phase: Phase) -> tuple[doc.Segment, ...]:
    sizes: dict[Purpose, int] = {}
    for entry in alive(plan, device, phase):
        sizes[entry.purpose] = sizes.get(entry.purpose, 0) + entry.amount.expected
    return tuple(doc.Segment(purpose.value, nbytes) for purpose, nbytes in sizes.items() if nbytes > 0)


def _listed(entries: Iterable[Entry]) -> list[tuple[Entry, list[Phase]]]:
    """Entries that take anything, each with its phases: two that differ in nothing else are one thing that is alive in both."""
    found: list[tuple[Entry, list[Phase]]] = []
    for entry in entries:
        bare = replace(entry, phase=Phase.LOAD)
        known = next((phases for other, phases in found if other == bare and entry.phase not in phases), None)
        if known is not None:
            known.append(entry.phase)
        elif entry.amount.high > 0:
            found.append((bare, [entry.phase]))
    return found


def _device(plan: Plan, group: tuple[DeviceVerdict, ...]) -> tuple[doc.Block, ...]:
    verdict = group[0]
    phase = peak_phase(plan, verdict.device)
    entries = plan.ledger.on(verdict.device)
    peak = verdict.peak
    title = (
        f"{_title(group)}: peak {format_gib(peak.expected)} GiB ({format_gib(peak.low)} to {format_gib(peak.high)}) "
        f"of {format_bytes(verdict.total_bytes)} in {phase.value}"
    )
    has_budget = any(entry.budgeted for entry in entries)  # an engine that grows has none to be outside of
    listed = _listed(entries)
    rows = tuple(
        (
            entry.purpose.value if entry.budgeted or not has_budget else f"{entry.purpose.value} +",
            ", ".join(phases),
            format_gib(entry.amount.low),
            format_gib(entry.amount.expected),
            format_gib(entry.amount.high),
            entry.because,
        )
        for entry, phases in listed
    )
    marks = tuple(entry.purpose.value for entry, _ in listed)
    return (
        doc.Bar(title, _segments(plan, verdict.device, phase), verdict.total_bytes, _WORDS[verdict.verdict][1]),
        doc.Table(_LEDGER, rows, marks),
        *((doc.Paragraph("+ outside the engine's own sizing"),) if has_budget and not all(entry.budgeted for entry in entries) else ()),
    )


def _capacity(capacity: Capacity, plan: Plan) -> tuple[doc.Block, ...]:
    tokens, context = capacity.kv_tokens, plan.case.workload.context_tokens
    at = f" of {format_count(context)} tokens" if context is not None else " of the whole length"
    pool = _pool(capacity, plan)
    if capacity.block_tokens > 1:
        pool += f", {format_count(capacity.kv_blocks.expected)} blocks of {capacity.block_tokens} tokens"
    said = (
        f"cache: {pool}, {format_count(capacity.kv_bytes_per_token)} bytes a token over all layers",
        f"tokens: {format_count(tokens.expected)} ({format_count(tokens.low)} to {format_count(tokens.high)})",
        _longest(capacity, plan),
        f"sequences at once{at}: {format_count(capacity.max_sequences.expected)}",
    )
    return (doc.Heading("Capacity"), doc.Items(said))


def _pool(capacity: Capacity, plan: Plan) -> str:
    """What fills a budget is the same on each device; what grows or has a size may lie unevenly, and is said in all."""
    if plan.ledger.joins:
        return f"{format_bytes(capacity.kv_cache_bytes.expected)} a device"
    kept = (entry for entry in plan.ledger.entries if entry.purpose in {Purpose.KV_CACHE, Purpose.STATE} and entry.phase is Phase.RESIDENT)
    inside = sum(entry.amount.expected for entry in kept)
    return f"{format_bytes(inside)} in all" if inside else f"room for {format_bytes(capacity.kv_cache_bytes.expected)}"


def _longest(capacity: Capacity, plan: Plan) -> str:
    longest, own = capacity.max_context_tokens.expected, plan.case.model.architecture.max_context_tokens
    limit = f"; the model itself ends at {format_count(own)}" if own is not None and longest > own else ""
    counted = "; the tokens above are the engine's own figure, reckoned in sequences of its full length, whose last block is not full"
    more = counted if capacity.block_tokens > 1 and longest > capacity.kv_tokens.expected else ""
    return f"longest sequence that fits: {format_count(longest)} tokens{limit}{more}"


def _forecast(plan: Plan) -> tuple[doc.Block, ...]:
    if plan.forecast is None:
        return ()
    from ullage.report.forecast_document import forecast_document  # noqa: PLC0415 - few plans have one

    return forecast_document(plan.forecast)


def _command(command: Command) -> tuple[doc.Block, ...]:
    if not command.argv:
        return ()
    environment = [f"{name}={quote(value)}" for name, value in command.environment]
    lines = " ".join([*environment, *(quote(word) for word in command.argv)])
    files = tuple(block for name, content in command.files for block in (doc.Paragraph(f"{name}:"), doc.Code(content)))
    return (doc.Heading("Command"), doc.Code(lines), *files)


def quote(word: str) -> str:
    """A word as a POSIX shell takes it whole."""
    safe = word and all(letter.isascii() and (letter.isalnum() or letter in "@%+=:,./-_") for letter in word)
    return word if safe else "'" + word.replace("'", "'\"'\"'") + "'"


def _remedies(remedies: tuple[Remedy, ...]) -> tuple[doc.Block, ...]:
    if not remedies:
        return ()
    said = tuple(remedy_in_words(remedy) for remedy in remedies)
    return (doc.Heading("Single changes that help (--apply N shows the plan)"), doc.Items(said, numbered=True))


def remedy_in_words(remedy: Remedy) -> str:
    """The change, what it frees and costs, and what the plan says then."""
    changes = ", ".join(f"{name}={value}" for name, value in remedy.changes)
    return f"{changes}: frees {format_bytes(remedy.frees_bytes)}; costs {remedy.cost}; then {_WORDS[remedy.verdict][0]}"


def _origins(plan: Plan) -> tuple[doc.Block, ...]:
    kinds: dict[str, list[str]] = {}
    for entry in plan.ledger.entries:
        purposes = kinds.setdefault(str(entry.origin.kind), [])
        if entry.purpose.value not in purposes:
            purposes.append(entry.purpose.value)
    if not kinds:
        return ()
    return (doc.Paragraph("Numbers: " + "; ".join(f"{kind}: {', '.join(purposes)}" for kind, purposes in kinds.items()) + "."),)


def _formula(entry: Entry) -> str:
    amount = entry.amount
    spread = "" if amount.low == amount.high else f" ({amount.low:,} to {amount.high:,})"
    size = f"{amount.expected:,} bytes{spread}"
    return f"{entry.device} {entry.purpose.value}, {entry.phase.value}: {size}: {entry.because} [{entry.origin}]"


def _explained(plan: Plan) -> tuple[doc.Block, ...]:
    formulas = tuple(_formula(entry) for group in _groups(plan) for entry in plan.ledger.on(group[0].device))
    joins = tuple(f"{join.device}: {join.because} = {join.nbytes:,} bytes" for join in plan.ledger.joins)
    settings = tuple(f"{name} = {value}" for name, value in plan.case.settings.items)
    return (
        doc.Heading("Every number"),
        doc.Items(formulas),
        *((doc.Heading("Budgets"), doc.Items(joins)) if joins else ()),
        doc.Heading("Settings"),
        doc.Items(settings),
    )
