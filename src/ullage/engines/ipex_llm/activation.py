"""What a step needs beside weights and cache: the widest layer over its tokens, scores where they are written out, and logits."""

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.architecture import ChunkedAttention, DenseFeedForward, FullAttention, Layer, SlidingAttention
from ullage.domain.case import Case
from ullage.domain.ledger import Amount
from ullage.engines.ipex_llm.resolve import activation_dtype, is_served, on_cpu
from ullage.engines.ipex_llm.versions import ALL_HEADS_CUT, LOGIT_BYTES, SAMPLER_TENTHS, WIDE_HEAD, WIDE_HEADS_CUT, build_day, rules
from ullage.formulas.sharding import ceil_div, kv_heads_per_rank
from ullage.formulas.widths import widest_layer
from ullage.frozen import dataclass
from ullage.units import format_bytes

HIDDEN_COPIES = 3
FLOAT = 4
KERNEL_HEAD_DIMS = frozenset({64, 80, 96, 128})  # head sizes for which the library has a kernel that holds no scores
SHORT_PROMPT = 500  # the head is cut to the last position only for longer prompts
Grouped = FullAttention | SlidingAttention | ChunkedAttention


@dataclass(frozen=True, slots=True)
class Part:
    """One need: its bytes, and the arithmetic."""

    amount: Amount
    because: str


def element_bytes(case: Case) -> int:
    """Bytes of one activation."""
    return model_dtype(activation_dtype(case)).block_bytes


def step_tokens(case: Case) -> int:
    """Tokens of the largest step: a full batch of the fork, or the prompts of ``generate`` whole."""
    if is_served(case):
        return case.settings.integer("max_num_batched_tokens") or 1
    return (case.workload.prompt_tokens or 1) * case.workload.concurrent_sequences


def layer_part(case: Case) -> Part:
    """Tokens x element x (copies of hidden + the widest pair of buffers), and the scores of the longest prompt."""
    tokens, element, architecture = step_tokens(case), element_bytes(case), case.model.architecture
    width = max(widest_layer(case.model, case.parallel.tensor), _copied_width(case))
    nbytes = tokens * element * (HIDDEN_COPIES * architecture.hidden_size + width)
    because = f"{tokens:,} tokens x {element} B x ({HIDDEN_COPIES} x hidden {architecture.hidden_size:,} + widest buffers {width:,})"
    because += f" = {format_bytes(nbytes)}"
    scores = score_bytes(case)
    if scores:
        nbytes = max(nbytes, tokens * element * (HIDDEN_COPIES * architecture.hidden_size + _copied_width(case)) + 2 * scores)
        because += f"; with attention's scores of {format_bytes(scores)} and their softmax {format_bytes(nbytes)}"
    high = nbytes * 107 // 100 * (2 if architecture.is_mixture else 1)
    return Part(Amount(nbytes * 19 // 20, nbytes, high), because)


def _grouped(layer: Layer) -> list[Grouped]:
    return [mixer for mixer in layer.mixers if isinstance(mixer, FullAttention | SlidingAttention | ChunkedAttention)]


def _copied_width(case: Case) -> int:
    """Elements per token of attention in the forks that copy a batch into padded tensors, heads repeated, before attention."""
    if not is_served(case) or not rules(case).pads_prompts:
        return 0
    widths, ways = [0], case.parallel.tensor
    for layer in dict.fromkeys(case.model.architecture.layers):
        for mixer in _grouped(layer):
            query = ceil_div(mixer.query_heads, ways) * mixer.key_dim
            own = query + kv_heads_per_rank(mixer.kv_heads, ways) * (mixer.key_dim + mixer.value_dim)
            repeated = 2 * query if mixer.kv_heads != mixer.query_heads else 0
            widths.append(own + repeated + 5 * query)
    return max(widths)


def writes_scores(case: Case) -> bool:
    """Whether prompts run through plain matrix products: BigDL-LLM, the 0.3.3 fork, processors, and head sizes without a kernel."""
    dims = {mixer.key_dim for layer in case.model.architecture.layers for mixer in _grouped(layer)}
    old = rules(case).math_attention if is_served(case) else rules(case).bigdl
    return bool(dims) and (old or on_cpu(case) or not dims <= KERNEL_HEAD_DIMS)


def score_bytes(case: Case) -> int:
    """Scores of one step on one rank, float32 in the fork and the activations' dtype in ``generate``: heads x prompt x prompt each."""
    if not writes_scores(case):
        return 0
    heads = max((mixer.query_heads for layer in case.model.architecture.layers for mixer in _grouped(layer)), default=0)
    rows, prompt = _prompts(case)
    return rows * ceil_div(heads, case.parallel.tensor) * prompt * prompt * (FLOAT if is_served(case) else element_bytes(case))


def _prompts(case: Case) -> tuple[int, int]:
    """Prompts that run together and their length: the longest the fork may be given, or those of ``generate``."""
    if not is_served(case):
        return case.workload.concurrent_sequences, case.workload.prompt_tokens or 1
    asked = case.workload.prompt_tokens or case.workload.context_tokens or case.settings.integer("max_model_len") or 1
    return 1, min(asked, step_tokens(case))


def last_logits_only(case: Case) -> bool:
    """Whether the head computes the last position only."""
    said, rows = dict(case.environment).get("IPEX_LLM_LAST_LM_HEAD"), case.model.architecture.vocab_size
    if said is not None:
        return said != "0"
    day = build_day(case)
    return day >= ALL_HEADS_CUT or (day >= WIDE_HEADS_CUT and rows > WIDE_HEAD and (case.workload.prompt_tokens or 0) > SHORT_PROMPT)


def logit_rows(case: Case) -> int:
    """Positions whose logits ``generate`` computes for the prompt."""
    each = 1 if last_logits_only(case) else case.workload.prompt_tokens or 1
    return each * case.workload.concurrent_sequences


def prompt_logits(case: Case) -> Part:
    """Logits of ``generate``: every position of the prompt, in float32, with the copies that sampling makes."""
    rows, words = logit_rows(case), case.model.architecture.vocab_size
    low, high = LOGIT_BYTES.low or 0, LOGIT_BYTES.high or 0
    which = "the last position" if last_logits_only(case) else "every prompt position"
    because = f"logits of {which}: {rows:,} rows x {words:,} words x {LOGIT_BYTES.value} B"
    return Part(Amount(*(rows * words * size for size in (low, LOGIT_BYTES.value, high))), because)


def sampler_part(case: Case) -> Part:
    """Logits and probabilities of as many sequences as may run at once in the fork."""
    rows, words = case.settings.integer("max_num_seqs") or 1, case.model.architecture.vocab_size
    low, expected, high = (
        rows * words * tenths // 10 for tenths in (SAMPLER_TENTHS.low or 0, SAMPLER_TENTHS.value, SAMPLER_TENTHS.high or 0)
    )
    return Part(Amount(low, expected, high), f"sampler over {rows:,} rows x {words:,} words x {SAMPLER_TENTHS.value / 10:g} B")


def largest_request(case: Case) -> Part:
    """The largest single block a step asks for, which Arc refuses above 4 GB."""
    tokens, element = step_tokens(case), element_bytes(case)
    wide = tokens * element * gate_up_width(case)
    found = [(wide, f"gate and up of {tokens:,} tokens x {gate_up_width(case):,} x {element} B")]
    scores = score_bytes(case)
    if scores:
        rows, prompt = _prompts(case)
        found.append((scores, f"attention's scores of {rows:,} prompt(s) of {prompt:,} tokens"))
    if not is_served(case):
        rows, words = logit_rows(case), case.model.architecture.vocab_size
        found.append((rows * words * FLOAT, f"float32 logits of {rows:,} positions x {words:,} words"))
    nbytes, because = max(found)
    return Part(Amount.exactly(nbytes), because)


def gate_up_width(case: Case) -> int:
    """Elements per token of the widest fused gate and up projection of one rank."""
    widths = [0]
    for layer in dict.fromkeys(case.model.architecture.layers):
        feed = layer.feed_forward
        if isinstance(feed, DenseFeedForward):
            widths.append(ceil_div((2 if feed.gated else 1) * feed.intermediate, case.parallel.tensor))
    return max(widths)
