"""Memory that is neither weights, cache nor activations: driver context, libraries, communication, CUDA graphs, runner buffers."""

from ullage.domain.architecture import ExpertFeedForward, Recurrent
from ullage.domain.case import Case, Model
from ullage.domain.ledger import NOTHING, Amount, amount_of
from ullage.domain.provenance import Constant
from ullage.engines.vllm import versions as fact
from ullage.engines.vllm.processor import on_processor
from ullage.engines.vllm.resolve import is_linked, kinds_of_layers, rules
from ullage.engines.vllm.versions import Accounting, Core


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
    """Communication buffers that grow within the budget; cards without a fast link get by with fewer channels."""
    if case.parallel.tensor * case.parallel.pipeline * case.parallel.data == 1:
        return NOTHING
    if not is_linked(case):
        return amount_of(fact.NETWORK_WITHOUT_LINK)
    if rules(case).core is Core.V0:
        return amount_of(fact.NETWORK_INSIDE_V0)
    return amount_of(fact.NETWORK_INSIDE_NEW if case.version.parts >= (0, 18) else fact.NETWORK_INSIDE_V1)


def network_outside(case: Case) -> Amount:
    """Communication buffers made before the snapshot."""
    if case.parallel.tensor * case.parallel.pipeline * case.parallel.data == 1 or rules(case).network_inside:
        return NOTHING
    made = amount_of(fact.NETWORK_OUTSIDE if is_linked(case) else fact.NETWORK_OUTSIDE_WITHOUT_LINK)
    routed = case.model.architecture.is_mixture and is_linked(case)
    return made + amount_of(fact.NETWORK_OF_EXPERTS) if routed else made


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
    architecture = case.model.architecture
    layers = -(-len(architecture.layers) // case.parallel.pipeline)
    second = uses_second_runner(case)
    base = amount_of(fact.GRAPH_BASE_SECOND if second else fact.GRAPH_BASE)
    each = amount_of(fact.GRAPH_PER_LAYER_SECOND if second else fact.GRAPH_PER_LAYER)
    feeds = (layer.feed_forward for layer in kinds_of_layers(case.model))
    chosen = max((feed.experts_per_token for feed in feeds if isinstance(feed, ExpertFeedForward)), default=0)
    if chosen >= MANY_CHOSEN and case.version.parts >= (0, 17):
        each += amount_of(fact.GRAPH_PER_EXPERT_LAYER)
    count = sizes * layers
    return Amount(base.low + each.low * count, base.expected + each.expected * count, base.high + each.high * count * (2 if chosen else 1))


MANY_CHOSEN = 4  # experts of one token from which their routing shows in the graphs


# Families the second model runner took over first: dense Qwen3, those listed, all that are neither mixtures nor hybrids, then all.
_LISTED = frozenset({"DeepseekV2ForCausalLM", "GraniteMoeForCausalLM", "Qwen2MoeForCausalLM"})
_SECOND_RUNNER: tuple[tuple[tuple[int, ...], frozenset[str]], ...] = (
    ((0, 28), frozenset({*_LISTED, "DeepseekV4ForCausalLM", "KimiK3ForConditionalGeneration"})),
    ((0, 25), _LISTED),
    ((0, 23), frozenset({*_LISTED, "Qwen3ForCausalLM", "LlamaForCausalLM", "MistralForCausalLM"})),
    ((0, 22), frozenset({"Qwen3ForCausalLM"})),
)


def uses_second_runner(case: Case) -> bool:
    """Whether this release runs the model with its second model runner, unless the environment decides; on processors it does not."""
    if on_processor(case):
        return False
    asked = dict(case.environment).get("VLLM_USE_V2_MODEL_RUNNER")
    if asked is not None:
        return asked not in {"0", "false", "False"}
    at, architecture = case.version.parts, case.model.architecture
    listed = next((names for since, names in _SECOND_RUNNER if at >= since), frozenset[str]())
    plain = not architecture.is_mixture and not _has_state(case.model)
    return at >= (0, 29) or architecture.class_name in listed or (at >= (0, 25) and plain)


def _has_state(model: Model) -> bool:
    return any(isinstance(mixer, Recurrent) for layer in kinds_of_layers(model) for mixer in layer.mixers)


def runner_buffers(case: Case) -> int:
    """What the second model runner keeps on the device: token counts and masks of every sequence slot over the vocabulary."""
    if not uses_second_runner(case):
        return 0
    slots, vocab = case.settings.integer("max_num_seqs") or 0, case.model.architecture.vocab_size
    return slots * vocab * 4 + slots * -(-vocab // 32) * 4
