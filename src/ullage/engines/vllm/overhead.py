"""Memory that is neither weights, cache nor activations: driver context, libraries, communication, CUDA graphs, runner buffers."""

from ullage.domain.architecture import ExpertFeedForward
from ullage.domain.case import Case
from ullage.domain.ledger import NOTHING, Amount
from ullage.domain.provenance import Constant
from ullage.engines.vllm import versions as fact
from ullage.engines.vllm.resolve import rules
from ullage.engines.vllm.versions import Accounting, Core
from ullage.units import MiB


def amount_of(constant: Constant) -> Amount:
    """A constant as a range."""
    low = constant.value if constant.low is None else constant.low
    high = constant.value if constant.high is None else constant.high
    return Amount(low, constant.value, high)


def context(case: Case) -> Amount:
    """Driver context and loaded modules, on the device before the first snapshot; inside the early overhead for old releases."""
    return NOTHING if rules(case).context_inside and rules(case).core is Core.V0 else amount_of(fact.CONTEXT)


def non_torch(case: Case) -> tuple[Constant, Amount]:
    """Growth outside PyTorch that the profile counts: library handles, kernels; for old releases the context and slack as well."""
    rule = rules(case)
    if rule.core is Core.V0:
        constant = fact.NON_TORCH_V0 if rule.accounting is Accounting.PARTS else fact.EARLY_OVERHEAD
    else:
        constant = fact.NON_TORCH_NEW if case.version.parts >= (0, 18) else fact.NON_TORCH_V1
    return constant, amount_of(constant)


def network_inside(case: Case) -> Amount:
    """Communication buffers that grow within the budget."""
    if case.parallel.tensor * case.parallel.pipeline * case.parallel.data == 1:
        return NOTHING
    if rules(case).core is Core.V0:
        return amount_of(fact.NETWORK_INSIDE_V0)
    return amount_of(fact.NETWORK_INSIDE_NEW if case.version.parts >= (0, 18) else fact.NETWORK_INSIDE_V1)


def network_outside(case: Case) -> Amount:
    """Communication buffers made before the snapshot."""
    if case.parallel.tensor * case.parallel.pipeline * case.parallel.data == 1 or rules(case).network_inside:
        return NOTHING
    return amount_of(fact.NETWORK_OUTSIDE)


def captured_sizes(case: Case) -> int:
    """How many graphs are captured: decode sizes in V0; piecewise and full ones in V1."""
    if case.settings.flag("enforce_eager"):
        return 0
    sequences = case.settings.integer("max_num_seqs") or 256
    if rules(case).core is Core.V0:
        return _sizes_to(min(sequences, 256), step=8)
    tokens = case.settings.integer("max_num_batched_tokens") or 2048
    largest = min(2 * sequences, 512, tokens)
    if case.version.parts < (0, 11):
        return _sizes_to(largest, step=8)
    return _sizes_to(largest, step=16) + _sizes_to(min(largest, sequences), step=16)


def _sizes_to(largest: int, *, step: int) -> int:
    """1, 2, 4, then every 8 below 256 and every ``step`` above."""
    small = sum(1 for size in (1, 2, 4) if size <= largest)
    eights = max(0, min(largest, 255) // 8)
    return small + eights + (max(0, (largest - 256) // step + 1) if largest >= 256 else 0)  # noqa: PLR2004 - the published list


def graphs(case: Case) -> Amount:
    """Memory of the captured CUDA graphs on one rank."""
    sizes = captured_sizes(case)
    if sizes == 0:
        return NOTHING
    layers = -(-len(case.model.architecture.layers) // case.parallel.pipeline)
    experts = any(isinstance(layer.feed_forward, ExpertFeedForward) for layer in case.model.architecture.layers)
    base, each = amount_of(fact.GRAPH_BASE), amount_of(fact.GRAPH_PER_LAYER)
    factor = 2 if experts else 1
    count = sizes * layers
    return Amount(base.low + each.low * count, base.expected + each.expected * count, base.high + each.high * count * factor)


# Families the second model runner took over first (dense Qwen3, then Llama and Mistral, then most, then all).
_RUNNER_V2 = (((0, 22), ("Qwen3ForCausalLM",)), ((0, 23), ("LlamaForCausalLM", "MistralForCausalLM")))


def runner_buffers(case: Case) -> int:
    """What the second model runner keeps on the device: token counts and masks of every sequence slot over the vocabulary."""
    at, name = case.version.parts, case.model.architecture.class_name
    taken = at >= (0, 30) or (at >= (0, 25) and not case.model.architecture.is_mixture)
    taken = taken or any(at >= since and name in names for since, names in _RUNNER_V2)
    if not taken or dict(case.environment).get("VLLM_USE_V2_MODEL_RUNNER") == "0":
        return 0
    slots, vocab = case.settings.integer("max_num_seqs") or 0, case.model.architecture.vocab_size
    return slots * vocab * 4 + slots * -(-vocab // 32) * 4


WARM_SLACK = 64 * MiB  # what kernels and handles may still take after the profile
