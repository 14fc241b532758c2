"""What a prompt needs beside weights and cache. On the absorbed path it is the scores: a chunk of queries against the whole cache."""

from typing import NamedTuple

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.architecture import ExpertFeedForward, LatentAttention
from ullage.domain.case import Case
from ullage.engines.ktransformers.classic_cache import cache_tokens
from ullage.engines.ktransformers.placement import Share
from ullage.engines.ktransformers.resolve import BALANCE_SERVE, prompt_of
from ullage.engines.ktransformers.versions import Prefill, classic_rules
from ullage.formulas.widths import mixer_width
from ullage.units import format_bytes

ALIVE, KEPT = 5, 7  # in X: 1 scores + 2 cast to fp32 + 2 softmax; the allocator keeps 3 of the sum and 4 of the softmax
_ELEMENT = 2
_STREAM = 4  # hidden-sized tensors alive at attention: residual, normed input, output and its concatenation


class Scores(NamedTuple):
    """One score matrix X in bytes, and its arithmetic; 0 where none is made."""

    nbytes: int
    because: str


def prompt_tokens(case: Case) -> int:
    """The prompt, as far as the cache holds it."""
    return min(prompt_of(case), cache_tokens(case))


def _mixers(case: Case) -> tuple[LatentAttention, ...]:
    return tuple(mixer for layer in case.model.architecture.layers for mixer in layer.mixers if isinstance(mixer, LatentAttention))


def is_absorbed(case: Case) -> bool:
    """Whether a prompt makes score matrices as wide as the cache."""
    return classic_rules(case.version.parts).prefill is Prefill.ABSORBED and bool(_mixers(case))


def score_rows(case: Case) -> int:
    """Queries of one score matrix."""
    rule = classic_rules(case.version.parts)
    rows = case.settings.integer("chunk_size") if rule.score_rows_settable else None
    return min(prompt_tokens(case), rows or rule.score_rows)


def scores(case: Case) -> Scores:
    """X: heads x rows x cache_lens x 2 bytes."""
    if not is_absorbed(case):
        return Scores(0, "")
    heads = max(mixer.query_heads for mixer in _mixers(case))
    rows, width = score_rows(case), cache_tokens(case)
    nbytes = heads * rows * width * _ELEMENT
    because = (
        f"scores of a chunk against the whole cache: X = {heads} heads x {rows:,} queries x {width:,} positions of cache_lens x 2 bytes = "
        f"{format_bytes(nbytes)}; {ALIVE}X alive at the softmax, up to {KEPT}X kept by the allocator where the card has room"
    )
    return Scores(nbytes, because)


def step_tokens(case: Case) -> int:
    """Prompt tokens that go through the model at once."""
    chunk = case.settings.integer("chunk_size") if classic_rules(case.version.parts).chunk_setting is not None else None
    return min(prompt_tokens(case), chunk or prompt_tokens(case))


def around(case: Case) -> int:
    """What is alive beside the scores: the stream of hidden states, a chunk's queries, and the causal mask."""
    rule, hidden, step = classic_rules(case.version.parts), case.model.architecture.hidden_size, step_tokens(case)
    mask = step * cache_tokens(case) * _ELEMENT if rule.masks else 0
    queries = score_rows(case) * max((m.query_heads * (2 * m.latent_dim + m.rope_dim) for m in _mixers(case)), default=0)
    return _STREAM * step * hidden * _ELEMENT + mask + (queries * _ELEMENT if is_absorbed(case) else 0)


def attention(case: Case) -> tuple[int, str]:
    """Attention of one step where no scores are made, and its arithmetic."""
    step, whole = step_tokens(case), prompt_tokens(case)
    latent = _mixers(case)
    if not latent:
        width = max((mixer_width(layer, 1) for layer in case.model.architecture.layers), default=0)
        return step * width * _ELEMENT, f"queries, keys, values and output of {step:,} tokens"
    widest = max(latent, key=lambda mixer: mixer.query_heads)
    heads, head = widest.query_heads, widest.nope_dim + widest.rope_dim
    if case.settings.flag("absorb_for_prefill") or case.settings.text("backend_type") == BALANCE_SERVE:
        nbytes = step * heads * (2 * widest.latent_dim + 2 * head) * _ELEMENT
        return nbytes, f"absorbed queries and output of {step:,} tokens in {heads} heads"
    unpacked = whole * heads * (widest.nope_dim + widest.value_dim + 2 * head) * _ELEMENT
    own = step * heads * (2 * head + widest.value_dim) * _ELEMENT
    return unpacked + own, (
        f"keys and values of {whole:,} tokens unpacked from the latent for {heads} heads, {format_bytes(unpacked)}; "
        f"and queries of {step:,}, {format_bytes(own)}"
    )


def feed_forward(case: Case) -> int:
    """Gate, up and product of the widest dense or shared MLP; routed experts run on the host and send back one hidden row a token."""
    widest = 0
    for layer in case.model.architecture.layers:
        feed = layer.feed_forward
        if isinstance(feed, ExpertFeedForward):
            widest = max(widest, 3 * feed.shared_intermediate + 2 * case.model.architecture.hidden_size)
        elif feed is not None:
            widest = max(widest, 3 * feed.intermediate)
    return step_tokens(case) * widest * _ELEMENT


def logits(case: Case, share: Share) -> int:
    """Logits of the whole prompt where the release computes them all; the last position's are small."""
    if not share.tail or classic_rules(case.version.parts).last_logits:
        return 0
    element = model_dtype(case.model.architecture.dtype).block_bytes
    return prompt_tokens(case) * case.model.architecture.vocab_size * element
