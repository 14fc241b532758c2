"""``generate`` of the Transformers-style API: weights, a cache that grows in blocks, and the widest moment of prompt and answer."""

from ullage.catalog.tensor_formats import FP8_E4M3
from ullage.domain.case import Case
from ullage.domain.ledger import NOTHING, Amount, Entry, Phase, Purpose, amount_of
from ullage.domain.machine import Device
from ullage.domain.provenance import EXACT, FORMULA, Origin
from ullage.engines.ipex_llm.activation import Part, layer_part, prompt_logits
from ullage.engines.ipex_llm.ranks import cache_format, row_bytes, token_bytes
from ullage.engines.ipex_llm.resolve import is_served
from ullage.engines.ipex_llm.versions import API_CONTEXT, FP8_GROWTH_TOKENS, GROWTH_TOKENS
from ullage.engines.ipex_llm.weights import RankWeights, packed, rank_weights
from ullage.formulas.cache import fixed_bytes
from ullage.formulas.sharding import ceil_div
from ullage.units import format_bytes


def growth_tokens(case: Case) -> int:
    """Slots the cache is made longer by: 256, as the environment says, or 512 in 8 bits."""
    if cache_format(case) is FP8_E4M3:
        return FP8_GROWTH_TOKENS.value
    said = dict(case.environment).get("KV_CACHE_ALLOC_BLOCK_LENGTH", "")
    return int(said) if said.isdecimal() and int(said) else GROWTH_TOKENS.value


def slots(case: Case, tokens: int) -> int:
    """Slots there are when a sequence has ``tokens``: the prompt and a block; once full, the token that lacks room and a block more."""
    prompt, block = min(case.workload.prompt_tokens or 1, tokens), growth_tokens(case)
    return prompt + block + (block + 1) * ceil_div(max(0, tokens - prompt - block), block + 1)


def cache_bytes(case: Case, layers: tuple[int, int], tokens: int) -> int:
    """The cache of all sequences over some layers."""
    rows = case.workload.concurrent_sequences
    fixed = fixed_bytes(case.model.architecture, fmt=cache_format(case)) if layers[0] == 0 else 0
    return rows * (slots(case, tokens) * token_bytes(case, layers, case.parallel.tensor) + fixed)


def copied_bytes(case: Case, layers: tuple[int, int]) -> int:
    """A full layer's old cache beside the new one while it is made longer; none where the first block lasts."""
    prompt, context = case.workload.prompt_tokens or 1, case.workload.context_tokens or 1
    if context - prompt <= growth_tokens(case):
        return 0
    fmt = cache_format(case)
    widest = max(
        (row_bytes(mixer, case.parallel.tensor, fmt) for layer in case.model.architecture.layers[slice(*layers)] for mixer in layer.mixers),
        default=0,
    )
    return case.workload.concurrent_sequences * (slots(case, context) - growth_tokens(case) - 1) * widest


def entries(case: Case) -> tuple[Entry, ...]:
    """Every device of the pipeline, in order; the head is on the last."""
    stages = rank_weights(case)
    last = len(stages) - 1
    found: list[Entry] = []
    for index, device in enumerate(case.devices):
        stage = index // case.parallel.tensor % len(stages)
        found.extend(_on_device(case, device, stages[stage], with_head=stage == last))
    return tuple(found)


def _on_device(case: Case, device: Device, weights: RankWeights, *, with_head: bool) -> list[Entry]:
    def entry(purpose: Purpose, phase: Phase, amount: Amount, because: str, origin: Origin = FORMULA) -> Entry:
        return Entry(device=device.id, purpose=purpose, phase=phase, amount=amount, budgeted=False, because=because, origin=origin)

    prompt, context = case.workload.prompt_tokens or 1, case.workload.context_tokens or 1
    token, block = token_bytes(case, weights.layers, case.parallel.tensor), growth_tokens(case)
    start, end = cache_bytes(case, weights.layers, prompt), cache_bytes(case, weights.layers, context)
    copied = copied_bytes(case, weights.layers)
    rows = case.workload.concurrent_sequences
    slot_text = f"slots x {token:,} B x {rows} sequence(s); {block} slots at a time"
    scheme = packed(case).checkpoint.scheme
    dtype = case.settings.text("dtype")
    found = [
        entry(Purpose.WEIGHTS, Phase.RESIDENT, Amount.exactly(weights.parameters), f"{scheme}, what is not packed in {dtype}"),
        entry(Purpose.BUFFERS, Phase.RESIDENT, Amount.exactly(weights.tables), "rotary tables"),
        entry(Purpose.KV_CACHE, Phase.PREFILL, Amount.exactly(start), f"{slots(case, prompt):,} {slot_text}"),
        entry(Purpose.KV_CACHE, Phase.DECODE, Amount.exactly(end), f"{slots(case, context):,} {slot_text}"),
    ]
    if copied:
        because = f"one layer's old cache beside the new one while it grows: {format_bytes(copied)}"
        found.append(entry(Purpose.WORKSPACE, Phase.DECODE, Amount.exactly(copied), because))
    purpose, moment = _moment(case, with_head=with_head)
    found.append(entry(purpose, Phase.PREFILL, moment.amount, moment.because))
    if device.kind == "xpu":
        because = "Level Zero context, kernels, allocator slack"
        found.append(entry(Purpose.RUNTIME, Phase.RESIDENT, amount_of(API_CONTEXT), because, API_CONTEXT.origin))
    if device.reserved_bytes:
        held = Amount.exactly(device.reserved_bytes)
        found.append(entry(Purpose.OTHERS, Phase.RESIDENT, held, "held by other processes", EXACT))
    return found


def _moment(case: Case, *, with_head: bool) -> tuple[Purpose, Part]:
    """The wider of the two moments of a prompt: the widest layer, or the logits after the last one."""
    layer, logits = layer_part(case), prompt_logits(case) if with_head else Part(NOTHING, "")
    top = layer if layer.amount.expected >= logits.amount.expected else logits
    low, high = min(top.amount.low, top.amount.expected), max(layer.amount.high, logits.amount.high)
    return (Purpose.ACTIVATIONS if top is layer else Purpose.LOGITS), Part(Amount(low, top.amount.expected, high), top.because)


def host_weights(case: Case) -> int:
    """Bytes of weights that stay on the host."""
    return 0 if is_served(case) else sum(stage.on_host for stage in rank_weights(case))
