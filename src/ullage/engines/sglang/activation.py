"""What a step needs beside weights and pools: activations of a prompt's chunk, logits, graphs, request table, draft."""

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.case import Case
from ullage.domain.ledger import NOTHING, Amount, amount_of
from ullage.engines.sglang import versions as fact
from ullage.engines.sglang.ranks import Rank
from ullage.engines.sglang.resolve import activation_dtype, attention_data, attention_tensor, rules, uses_dual_chunk
from ullage.engines.sglang.shards import uses_own_drafts
from ullage.engines.sglang.sizing import draft_layers
from ullage.engines.sglang.versions import times
from ullage.formulas.dual_chunk import Workspace, attention_of, prefill_workspace
from ullage.formulas.sharding import ceil_div, kv_heads_per_rank
from ullage.formulas.widths import widest_layer

HIDDEN_COPIES = 4  # hidden-sized tensors alive beside the widest pair of a layer
LOGIT_BYTES = 16  # 16-bit logits, their fp32 copy and the sampler's probabilities and sorted copy
INDEX_BYTES, EXTRA_SLOTS = 4, 4  # int32, and four tokens more than the length


def element_bytes(case: Case) -> int:
    """Bytes of one activation."""
    return model_dtype(activation_dtype(case)).block_bytes


def step_tokens(case: Case) -> int:
    """Tokens of the largest prefill step of a rank: the chunk, or without chunks whole prompts up to the length."""
    chunk = case.settings.integer("chunked_prefill_size") or -1
    if chunk > 0:
        return chunk
    length = case.workload.context_tokens or case.settings.integer("context_length") or 1
    return max(case.settings.integer("max_prefill_tokens") or 1, length)


def prefill(case: Case) -> tuple[Amount, str]:
    """Peak of one layer over a step, and the arithmetic. With data-parallel attention experts see the tokens of all ranks."""
    hidden, tokens = case.model.architecture.hidden_size, step_tokens(case) * attention_data(case)
    width = HIDDEN_COPIES * hidden + widest_layer(case.model, attention_tensor(case))
    nbytes = tokens * element_bytes(case) * width
    because = f"a prefill step of {tokens:,} tokens x {element_bytes(case)} B x ({HIDDEN_COPIES} x hidden {hidden:,} + widest pair)"
    mixture = 2 if case.model.architecture.is_mixture else 1
    return Amount(nbytes * 6 // 10, nbytes, nbytes * 13 // 10 * mixture), because


def logits(case: Case) -> tuple[Amount, str]:
    """Logits and sampling of the sequences that run together."""
    vocab, most = case.model.architecture.vocab_size, case.settings.integer("cuda_graph_max_bs") or 1
    asked = min(case.workload.concurrent_sequences, most)
    each = vocab * LOGIT_BYTES
    return Amount(vocab * 6 * asked, each * asked, each * max(asked, most)), f"{asked} sequences x {vocab:,} vocabulary x {LOGIT_BYTES} B"


def captured_sizes(case: Case) -> int:
    """How many decode graphs are captured: 1, 2, 4, 8, 12, every 8 to 256, every 16 to 512, every 32 above."""
    most = captured_batch(case)
    sizes = (1, 2, 4, 8, 12, *range(16, 257, 8), *range(272, 512, 16), *range(512, most + 1, 32))
    return sum(1 for size in sizes if size <= most)


def captured_batch(case: Case) -> int:
    """The largest captured batch; none without graphs."""
    if case.settings.flag("disable_cuda_graph"):
        return 0
    most, requests = case.settings.integer("cuda_graph_max_bs") or 0, case.settings.integer("max_running_requests")
    return most if requests is None else max(1, min(most, requests // attention_data(case)))


def graphs(case: Case) -> tuple[Amount, str]:
    """Memory of the captured graphs on one rank: outside the budget, taken after the pools are made."""
    sizes = captured_sizes(case)
    if not sizes:
        return NOTHING, ""
    layers, batch = ceil_div(len(case.model.architecture.layers), case.parallel.pipeline), captured_batch(case)
    vocab = case.model.architecture.vocab_size
    found = amount_of(fact.GRAPH_BASE) + times(fact.GRAPH_PER_LAYER, sizes * layers) + times(fact.GRAPH_LOGITS, batch * vocab)
    because = f"{sizes} captured sizes over {layers} layers and logits of {batch} sequences, taken after the pool is made"
    if case.model.architecture.is_mixture:
        found += times(fact.GRAPH_PER_EXPERT_ELEMENT, batch * layers * case.model.architecture.hidden_size)
        because += ", and buffers of experts"
    if attention_data(case) > 1:
        found += times(fact.GATHER, batch * attention_data(case))
        because += f", and the batches of {attention_data(case)} ranks gathered"
    return found, because


def request_table(case: Case, rank: Rank) -> tuple[Amount, str]:
    """``req_to_token``: the place of every token of every request, int32, for whole lengths, outside the budget."""
    length = (case.settings.integer("context_length") or 0) + EXTRA_SLOTS
    drafts = case.settings.integer("speculative_num_draft_tokens") or 0
    low, expected, high = ((count.requests + 1) * (length + drafts) * INDEX_BYTES for count in (rank.low, rank.sizes, rank.high))
    because = f"{rank.sizes.requests + 1:,} requests x {length + drafts:,} tokens x {INDEX_BYTES} B; max_running_requests sets the rows"
    return Amount(min(low, expected), expected, max(expected, high)), because


def draft_outside(case: Case, rank: Rank) -> tuple[Amount, str]:
    """Weights and cache of a draft that the release does not count: loaded after the pool is made."""
    if not draft_layers(case):
        return NOTHING, ""
    inside = rules(case).draft_budgeted
    each = rank.sizes.cache_bytes // max(1, rank.pool.layers)
    cache = 0 if inside else each
    if uses_own_drafts(case) and rank.weights.draft:
        nbytes = cache + (0 if inside else rank.weights.draft)
        return Amount.exactly(nbytes), "the checkpoint's draft layers and their cache, which this release does not count"
    layers = max(1, len(case.model.architecture.layers))
    layer = rank.weights.parameters // layers
    low, expected, high = (0, 0, 4 * layer) if inside else (cache, cache + 2 * layer, cache + 6 * layer)
    return Amount(low, expected, high), "a draft model of one layer and its head, as none is known; its cache is a layer's"


def dual_chunk_workspace(case: Case) -> Workspace | None:
    """The workspace of the longest prompt's last step, None where the case runs ordinary attention."""
    found = attention_of(case.model.architecture)
    if found is None or not uses_dual_chunk(case):
        return None
    tensor = attention_tensor(case)
    return prefill_workspace(
        case.model.architecture,
        heads=ceil_div(found[0].query_heads, tensor),
        kv_heads=kv_heads_per_rank(found[0].kv_heads, tensor),
        length=case.workload.context_tokens or case.settings.integer("context_length") or 1,
        chunk=step_tokens(case),
        element=element_bytes(case),
        fused_scores=activation_dtype(case) != "bfloat16",
    )
