"""The ledger of the classic server. It sizes nothing itself: the cache is as long as it is told, and a prompt takes what it takes."""

from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Entry, Ledger, Phase, Purpose, amount_of
from ullage.domain.machine import Device
from ullage.domain.provenance import EXACT, FORMULA
from ullage.engines.ktransformers.classic_cache import cache_bytes, cache_tokens
from ullage.engines.ktransformers.classic_prefill import ALIVE, KEPT, around, attention, feed_forward, logits, scores
from ullage.engines.ktransformers.host import host_entries
from ullage.engines.ktransformers.lines import constant, entry, others
from ullage.engines.ktransformers.placement import UNREADABLE_DEFAULT, Share, parts, reads_experts, shares
from ullage.engines.ktransformers.resolve import BALANCE_SERVE, is_latent
from ullage.engines.ktransformers.versions import CONTEXT, DECODE_GRAPH, FLASHINFER, SERVE_GRAPHS, classic_rules
from ullage.units import format_bytes


def ledger(case: Case) -> Ledger:
    """Everything on every GPU and on the host, phase by phase."""
    entries: list[Entry] = []
    for device, share in zip(case.devices, shares(case), strict=True):
        resident = _resident(case, device, share)
        entries += [*resident, *_prefill(case, device, share, sum(line.amount.expected for line in resident)), _decode(case, device)]
    found = parts(case)
    doubled = 2 if case.settings.flag("use_numa") else 1
    experts = sum(found.experts) * doubled
    return Ledger(entries=(*entries, *host_entries(case, experts, found.table, _kept_as(case, doubled))))


def _kept_as(case: Case, copies: int) -> str:
    assumed = "" if reads_experts(case.model) else f"gguf {UNREADABLE_DEFAULT}, as nothing was said"
    said = case.settings.text("gguf_type")
    how = f"gguf {said}" if said else assumed or case.model.checkpoint.scheme
    return f"all routed experts as {how}" + (", a copy for each of two sockets" if copies > 1 else "")


def _resident(case: Case, device: Device, share: Share) -> list[Entry]:
    op, tokens = case.settings.text("generate_op"), cache_tokens(case)
    rule = classic_rules(case.version.parts)
    plain = [*(["kv_b"] if is_latent(case) else []), *(["the head"] if share.tail and not rule.head_quantised else [])]
    weights = (
        f"{_where(share)} without routed experts: {share.nbytes:,} bytes, linears as {op} whatever the file holds"
        + f", {' and '.join(plain)} in 16 bits" * bool(plain)
    )
    held = cache_bytes(case, share.first, share.end, tokens)
    cache = f"{share.end - share.first} layers x {tokens:,} positions, static: {held:,} bytes"
    origin = EXACT if case.model.checkpoint.exact else FORMULA
    found = [
        entry(device.id, Purpose.WEIGHTS, Amount.exactly(share.nbytes), weights, budgeted=True, origin=origin),
        entry(device.id, Purpose.KV_CACHE, Amount.exactly(held), cache, budgeted=True),
        constant(device.id, Purpose.RUNTIME, CONTEXT, "driver context, kernels and libraries of one process"),
        *others(device),
    ]
    if rule.absorb_setting:
        found.append(constant(device.id, Purpose.BUFFERS, FLASHINFER, "FlashInfer's float workspace"))
    if case.settings.text("backend_type") == BALANCE_SERVE and case.settings.flag("use_cuda_graph"):
        found.append(constant(device.id, Purpose.GRAPHS, SERVE_GRAPHS, "CUDA graphs of every captured batch"))
    return found


def _where(share: Share) -> str:
    layers = f"layers {share.first} to {share.end - 1}" if share.end > share.first else "no layer"
    return f"{layers}{' and the head' if share.tail else ''}"


def _prefill(case: Case, device: Device, share: Share, resident: int) -> list[Entry]:
    """The prompt. PyTorch keeps freed score matrices while there is room and gives them back before it fails."""
    beside, found = around(case), scores(case)
    late = max(feed_forward(case), logits(case, share)) + beside
    if not found.nbytes:
        nbytes, because = attention(case)
        live = max(nbytes + beside, late)
        amount = Amount(live * 4 // 5, live, live * 3 // 2)
        return [entry(device.id, Purpose.WORKSPACE, amount, f"{because}; with the hidden states around it", phase=Phase.PREFILL)]
    least, most = ALIVE * found.nbytes, KEPT * found.nbytes
    whole = min(max(most, least + beside), max(least + beside, device.total_bytes - resident))
    over = max(0, beside - (most - least))
    matrix = Amount(least, whole - over, most)
    rest = max(over, late - matrix.expected)
    activations = Amount(min(rest, max(0, late - least)), rest, max(rest, beside, late))
    stream = (
        f"hidden states, a chunk's queries and the causal mask, {format_bytes(beside)}: into what the scores' {KEPT}X leave of {ALIVE}X"
    )
    return [
        entry(device.id, Purpose.WORKSPACE, matrix, found.because, phase=Phase.PREFILL),
        entry(device.id, Purpose.ACTIVATIONS, activations, stream, phase=Phase.PREFILL),
    ]


def _decode(case: Case, device: Device) -> Entry:
    if case.settings.text("backend_type") == BALANCE_SERVE or not case.settings.flag("use_cuda_graph"):
        return entry(device.id, Purpose.ACTIVATIONS, Amount.exactly(0), "one token's, in what the prompt had", phase=Phase.DECODE)
    because = "the graph of one token and its private pool; capturing it empties the allocator's cache, so the prompt's room is given back"
    return entry(device.id, Purpose.GRAPHS, amount_of(DECODE_GRAPH), because, phase=Phase.DECODE)
