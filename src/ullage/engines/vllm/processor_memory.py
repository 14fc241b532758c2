"""How many bytes a worker on a processor takes beside its cache: its process, weights and their packed copies, and a step."""

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.architecture import DenseFeedForward, ExpertFeedForward, LatentAttention, Layer, Recurrent
from ullage.domain.case import Case
from ullage.domain.checkpoint import Role
from ullage.domain.ledger import NOTHING, Amount, amount_of
from ullage.engines.vllm.processor import keeps_pieces, plain_latents
from ullage.engines.vllm.processor_figures import COMPILED, COMPILED_LAYER, PIECES, STEP, WORKER, WORKER_SHARED
from ullage.engines.vllm.resolve import activation_dtype, kinds_of_layers
from ullage.engines.vllm.shards import RankWeights
from ullage.formulas.sharding import ceil_div, padded_vocabulary
from ullage.units import MiB

_INNER, _HIDDEN = 12, 4  # bytes a token for each inner and each hidden element: gate and up, their product, in 16 bits and in fp32
_CHOSEN = 4  # bytes a token for each element of what each chosen expert answers: fp32 until they are summed
_STATE = 44  # bytes a token for each inner element of a layer with states: keys, queries and values of every head in fp32, by chunks
_SCORE = 8  # bytes of a score: of the products and of what they are scaled or drawn to
SAMPLED = (2, 24, 24)  # bytes a logit: the greedy path, and sorting for top-k and top-p
# Classes whose logits are products with the embedding's own module: there is no head to pack besides.
_HEADLESS = frozenset({"Gemma2ForCausalLM", "Gemma3nForCausalLM", "CohereForCausalLM", "Cohere2ForCausalLM"})
_MAPPED_BYTES = 32 * MiB  # the largest piece that glibc's moving threshold keeps in the heap


def packed_tables(case: Case, weights: RankWeights) -> int:
    """Copies of the token table that the matrix library keeps beside the original: one for each module that has it."""
    architecture = case.model.architecture
    element = model_dtype(activation_dtype(case)).block_bytes
    table = ceil_div(padded_vocabulary(architecture.vocab_size, 64), case.parallel.tensor) * architecture.hidden_size * element
    is_first, is_last = weights.layers[0] == 0, weights.layers[1] == len(architecture.layers)
    embeds = is_first or (is_last and architecture.tied_embeddings)
    heads = is_last and architecture.class_name not in _HEADLESS
    return table * (embeds + heads)


def kept_pieces(case: Case, weights: RankWeights) -> Amount:
    """What the C library's heap keeps of matrices that were packed and freed."""
    if not keeps_pieces(case):
        return NOTHING
    freed = sum(
        tensor.nbytes
        for tensor in case.model.checkpoint.tensors
        if tensor.layer is not None
        and weights.layers[0] <= tensor.layer < weights.layers[1]
        and tensor.role is not Role.NORM
        and tensor.nbytes // case.parallel.tensor <= _MAPPED_BYTES
    )
    return amount_of(PIECES).map(lambda hundredths: freed // case.parallel.tensor * hundredths // 100)


def compiled(case: Case, weights: RankWeights) -> Amount:
    """Code that the compiler made of the worker's layers, and what it leaves itself."""
    if case.settings.flag("enforce_eager"):
        return NOTHING
    first, end = weights.layers
    return amount_of(COMPILED) + amount_of(COMPILED_LAYER).map(lambda each: each * (end - first))


def step(case: Case, tokens: int) -> Amount:
    """What one step over so many tokens holds at its widest: eager it is strictly proportional to the tokens."""
    hidden, tensor = case.model.architecture.hidden_size, case.parallel.tensor
    widest = max((_widest(layer, hidden, tensor) for layer in kinds_of_layers(case.model)), default=0)
    found = tokens * (widest + _HIDDEN * hidden) * model_dtype(activation_dtype(case)).block_bytes // 2
    if plain_latents(case):
        found = max(found, _latent_scores(case, tokens))
    return amount_of(STEP).map(lambda hundredths: found * hundredths // 100)


def _widest(layer: Layer, hidden: int, tensor: int) -> int:
    """Bytes a token of a layer's widest part, beside the hidden elements that lie there throughout."""
    feed, found = layer.feed_forward, 0
    if isinstance(feed, DenseFeedForward):
        found = _INNER * ceil_div(feed.intermediate, tensor)
    elif isinstance(feed, ExpertFeedForward):
        inner = feed.experts_per_token * feed.intermediate + feed.shared_intermediate
        found = _INNER * ceil_div(inner, tensor) + _CHOSEN * feed.experts_per_token * hidden
    states = [ceil_div(mixer.inner_dim, tensor) for mixer in layer.mixers if isinstance(mixer, Recurrent)]
    return max(found, _STATE * max(states, default=0))


def _latent_scores(case: Case, tokens: int) -> int:
    """Bytes of one prompt's whole scores in fp32, twice, and of keys, queries and values of every head and token."""
    prompt = min(tokens, case.workload.context_tokens or tokens)
    latents = [mixer for layer in kinds_of_layers(case.model) for mixer in layer.mixers if isinstance(mixer, LatentAttention)]
    found = 0
    for mixer in latents:
        heads, width = ceil_div(mixer.query_heads, case.parallel.tensor), 2 * (mixer.nope_dim + mixer.rope_dim) + mixer.value_dim
        found = max(found, heads * (_SCORE * prompt**2 + _INNER * width * tokens))
    return found


def held(case: Case, weights: RankWeights) -> Amount:
    """What a worker finds itself to hold when it sizes its cache: resident memory, shared pages and all."""
    own = Amount.exactly(weights.nbytes + packed_tables(case, weights))
    return amount_of(WORKER) + amount_of(WORKER_SHARED) + own + kept_pieces(case, weights) + compiled(case, weights)
