"""The compute buffers: what the largest graph, a full micro-batch over a full cache, needs on each device and on the host.

The terms are those that logged buffers and no-alloc runs of b11434 show to the kilobyte for dense models: the attention mask, the
scores where there is no flash attention, hidden-wide copies of the inputs, and the widest step of a layer or of the output.
"""

from functools import lru_cache

from ullage.domain.architecture import (
    ChunkedAttention,
    CompressedAttention,
    CrossAttention,
    DenseFeedForward,
    ExpertFeedForward,
    FullAttention,
    LatentAttention,
    Layer,
    Mixer,
    Recurrent,
    SharedCache,
    SlidingAttention,
)
from ullage.domain.case import Case
from ullage.domain.ledger import Amount
from ullage.engines.llama_cpp.cache import cells, is_latent, mixer_cells, windows_known
from ullage.engines.llama_cpp.placement import ON_HOST, place
from ullage.engines.llama_cpp.resolve import accelerators, on_cpu_only, rules
from ullage.engines.llama_cpp.versions import PIPELINE_COPIES, SMALL_INPUTS
from ullage.frozen import dataclass
from ullage.units import MiB

_F32 = 4
_CANDIDATE = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """A compute buffer and its terms in bytes."""

    amount: Amount
    mask: int
    scores: int
    copies: int  # hidden-wide tensors
    widest: int  # the widest step of a layer
    logits: int
    moved: int  # weights of host layers brought over for a batch

    @property
    def terms(self) -> tuple[tuple[str, int], ...]:
        """The terms that are not nothing, by name."""
        names = ("mask", "scores", "copies", "widest", "logits", "moved")
        return tuple((name, value) for name in names if (value := getattr(self, name)))


def step_tokens(case: Case) -> int:
    """Tokens of the largest graph: the micro-batch, no longer than the batch and the cache, the same number for every slot."""
    batch = min(case.settings.integer("batch_size") or 2048, cells(case).total)
    tokens, slots = min(case.settings.integer("ubatch_size") or 512, batch), max(1, case.settings.integer("n_parallel") or 1)
    return -(-tokens // slots) * slots if rules(case).streams else tokens


def output_rows(case: Case) -> int:
    """Rows of logits reserved: one for a slot and each token drafted ahead, or one for every token of the step."""
    tokens = step_tokens(case)
    if not case.model.architecture.is_decoder:
        return 0
    if not rules(case).few_outputs or case.settings.flag("embedding"):
        return tokens
    slots = max(1, case.settings.integer("n_parallel") or 1)
    return min(tokens, slots * (1 + (case.settings.integer("spec_draft_n_max") or 0)))


def output_bytes(case: Case) -> int:
    """The output buffer on the host: a row of logits for each slot."""
    slots = max(1, case.settings.integer("n_parallel") or 1)
    return slots * case.model.architecture.vocab_size * _F32


def candidate_bytes(case: Case) -> int:
    """What each slot's sampler weighs: id, logit and probability of every token, kept from its first answer on (common/sampling.cpp)."""
    slots = max(1, case.settings.integer("n_parallel") or 1)
    return slots * case.model.architecture.vocab_size * _CANDIDATE


def is_pipelined(case: Case) -> bool:
    """Several devices that hold every layer between them work on different batches at once, which keeps copies of each input."""
    names = ("override_tensor", "cpu_moe", "n_cpu_moe", "n_cpu_ffn")
    moved = any(case.settings.get(name) for name in names)
    whole = ON_HOST not in (*place(case).layers, place(case).output)
    plain = case.settings.text("split_mode") == "layer" and case.settings.flag("kv_offload") is not False
    return len(accelerators(case)) > 1 and whole and plain and not moved and all(device.kind == "cuda" for device in accelerators(case))


def uses_flash(case: Case) -> bool:
    """Whether attention runs without its scores in memory."""
    return case.settings.text("flash_attn") != "off"


def _attends(mixer: Mixer) -> bool:
    return not isinstance(mixer, Recurrent | SharedCache | CrossAttention)


def mask_cells(case: Case) -> int:
    """Cells that the masks cover: the full cache's and, beside it, the windows'."""
    sizes = {mixer_cells(case, mixer) for layer in case.model.architecture.layers for mixer in layer.mixers if _attends(mixer)}
    if not sizes:
        return 0
    both = windows_known(case) and len(sizes) == 1 and any(_is_full(layer) for layer in case.model.architecture.layers)
    return sum(sizes) * (2 if both and len(_kinds(case)) > 1 else 1)


def _is_full(layer: Layer) -> bool:
    return any(isinstance(mixer, FullAttention | LatentAttention) for mixer in layer.mixers)


def _kinds(case: Case) -> set[str]:
    return {type(mixer).__name__ for layer in case.model.architecture.layers for mixer in layer.mixers if _attends(mixer)}


def mask_bytes(case: Case, *, on_host: bool) -> int:
    """Without narrow masks the device keeps one in 32 bits as it came and, for flash attention, one in 16."""
    rule, flash = rules(case), uses_flash(case)
    narrow, wide = 2, 4
    each = narrow if rule.narrow_mask and flash else wide
    if flash and not rule.narrow_mask and not on_host:
        each = wide + narrow
    return mask_cells(case) * step_tokens(case) * each


def _widths(mixer: Mixer) -> tuple[int, int]:
    """Elements a token of queries and of keys (or values) in a layer."""
    match mixer:
        case FullAttention() | SlidingAttention() | ChunkedAttention() | CrossAttention():
            return mixer.query_heads * mixer.key_dim, mixer.kv_heads * max(mixer.key_dim, mixer.value_dim)
        case LatentAttention():
            return mixer.query_heads * (mixer.nope_dim + mixer.rope_dim), mixer.latent_dim + mixer.rope_dim
        case CompressedAttention():
            return mixer.query_heads * mixer.key_dim, mixer.key_dim
        case Recurrent():
            return 2 * mixer.inner_dim, mixer.inner_dim
        case SharedCache():
            return mixer.query_heads * mixer.key_dim, 0


def _attention_elements(case: Case, mixer: Mixer, hidden: int) -> int:
    """Elements a token of an attention step, less the hidden-wide copies counted once for the graph."""
    if isinstance(mixer, LatentAttention) and is_latent(case):
        return mixer.query_heads * (2 * mixer.latent_dim + 3 * mixer.rope_dim + mixer.nope_dim)
    queries, keys = _widths(mixer)
    if not rules(case).held_inputs:
        return max(0, 3 * (queries - hidden))
    return max(0, 3 * queries + 2 * keys - 2 * hidden)


def _feed_forward_elements(layer: Layer, hidden: int) -> int:
    """Elements a token of a feed-forward step: gate, up and their product; the experts' outputs reuse them when they are wide enough."""
    match layer.feed_forward:
        case DenseFeedForward() as dense:
            return dense.intermediate * (3 if dense.gated else 2)
        case ExpertFeedForward() as mixture:
            inner, outer = mixture.experts_per_token * mixture.intermediate, mixture.experts_per_token * hidden
            routed = (3 if mixture.gated else 2) * inner + (0 if outer <= 2 * inner else outer)
            return max(routed, 3 * mixture.shared_intermediate)
        case None:
            return 0


def _scores(case: Case, mixer: Mixer) -> int:
    """Bytes of K*Q in 32 bits; ik_llama.cpp can bound them for MLA."""
    if not _attends(mixer):
        return 0
    heads = getattr(mixer, "query_heads", 0)
    nbytes = int(heads) * mixer_cells(case, mixer) * step_tokens(case) * _F32
    bound = case.settings.integer("attn_max_batch")
    return min(nbytes, bound * MiB) if bound else nbytes


@lru_cache(maxsize=128)
def buffer_on(case: Case, device: str) -> Buffer:
    """The compute buffer of one accelerator, or of the host with ``ON_HOST`` where it runs layers."""
    spot, hidden, tokens = place(case), case.model.architecture.hidden_size, step_tokens(case)
    layers = [case.model.architecture.layers[index] for index in spot.layers_on(device)]
    flash = uses_flash(case)
    mixers = [mixer for layer in layers for mixer in layer.mixers]
    scores = 0 if flash else max((_scores(case, mixer) for mixer in mixers), default=0)
    attention = max((_attention_elements(case, mixer, hidden) for mixer in mixers), default=0) * tokens * _F32
    forward = max((_feed_forward_elements(layer, hidden) for layer in layers), default=0) * tokens * _F32
    logits = output_rows(case) * case.model.architecture.vocab_size * _F32 if spot.output == device else 0
    lone = on_cpu_only(case)
    copies = _copies(case, device) * hidden * tokens * _F32
    times = PIPELINE_COPIES.value if is_pipelined(case) else 1
    mask = mask_bytes(case, on_host=device == ON_HOST) * times if layers or lone else 0
    moved = spot.largest_moved if case.settings.flag("op_offload") is not False and device == _first(case) else 0
    small = SMALL_INPUTS.value * tokens * times
    widest = max(scores + attention, forward)
    if rules(case).held_inputs:
        expected = mask + copies + max(widest, logits)
    else:
        expected = max(mask + copies + widest, logits + hidden * output_rows(case) * _F32 if logits else 0)
    expected += moved + small
    spare = 2 * hidden * tokens * _F32
    low = max(0, min(expected, expected - spare - moved))
    high = expected + spare + 2 * moved + (expected - mask - scores) // 10
    return Buffer(
        amount=Amount(low, expected, high), mask=mask, scores=scores, copies=copies, widest=widest - scores, logits=logits, moved=moved
    )


def _first(case: Case) -> str | None:
    devices = accelerators(case)
    return devices[0].id if devices else None


def _copies(case: Case, device: str) -> int:
    """Hidden-wide tensors alive beside the widest step: inputs, the residual and the normed state, and the pipeline's copies of inputs."""
    held, pipelined = rules(case).held_inputs, is_pipelined(case)
    if device == ON_HOST:
        return 5 if held else 4
    if case.settings.text("split_mode") == "none" or not pipelined:
        alone = ON_HOST not in place(case).layers
        return (4 if alone else 2) if held else (2 if uses_flash(case) else 4)
    if device == _first(case):
        return 16 if held else 8
    return 11 if held else 4


def host_inputs(case: Case) -> Amount:
    """The host's buffer beside accelerators: token embeddings and masks, in pinned memory."""
    rule, hidden, tokens = rules(case), case.model.architecture.hidden_size, step_tokens(case)
    pipelined = is_pipelined(case)
    times = PIPELINE_COPIES.value if pipelined else 1
    wide = 2 if rule.embedding_input else 1
    copies = (10 if pipelined else 4) if rule.held_inputs else wide * times
    mask = mask_bytes(case, on_host=True) * times
    expected = mask + copies * hidden * tokens * _F32 + SMALL_INPUTS.value * tokens * times
    return Amount(mask, expected, expected + 2 * hidden * tokens * _F32)
