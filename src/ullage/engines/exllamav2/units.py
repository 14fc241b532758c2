"""What each module of a model takes when ExLlamaV2 loads it: weights, scratch of its own and what the loader reserves for it."""

from functools import lru_cache

from ullage.domain.architecture import Architecture, DenseFeedForward, ExpertFeedForward, FullAttention, Layer, SlidingAttention
from ullage.domain.case import Case, Model
from ullage.engines.exllamav2.settings import cache_bits, cache_tokens, rules
from ullage.engines.exllamav2.versions import Rules
from ullage.formulas.blocks import Block, BlockKind, blocks
from ullage.formulas.exllama import TIED_HEAD_BITS, CacheBits, layer_token_bytes
from ullage.frozen import dataclass

HALF, FLOAT = 2, 4
SLACK = 128  # bytes the library adds to every piece of scratch
PLAIN_BITS = 16
_EFFICIENCY = 190  # the library divides by sqrt(max_attention_size) / 190 where flash-attn is there


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One module. ``scratch`` is allocated once a device, for its largest module; ``reserve`` and ``attention`` are only counted.

    ``working`` is what PyTorch allocates while a prompt runs through it, ``scores`` what comes on top without flash-attn.
    """

    block: Block
    scratch: int = 0
    reserve: int = 0
    attention_plain: int = 0
    attention_flash: int = 0
    working: int = 0
    scores: int = 0
    cache_bytes: int = 0

    @property
    def footprint(self) -> int:
        """What the loader counts: the stored bytes."""
        return self.block.nbytes

    @property
    def resident(self) -> int:
        """What lies in memory: with the table of groups, two 16-bit words a row, that is made beside quantised matrices."""
        return self.block.nbytes + 2 * HALF * self.block.index_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One forward pass: its tokens over all sequences, the lengths it may meet, and the rules of the release."""

    tokens: int
    batch: int
    length: int
    chunk: int
    rules: Rules

    @property
    def attention_cells(self) -> int:
        """Entries of the attention weights of one head at most."""
        return min(self.chunk * self.chunk, self.length * self.length)


def step_of(case: Case) -> Step:
    """The largest forward pass of a case."""
    settings, rule = case.settings, rules(case)
    batch, chunk = settings.integer("max_batch_size") or 1, settings.integer("chunk_size") or 1
    return Step(tokens=chunk * batch, batch=batch, length=settings.integer("max_seq_len") or 1, chunk=chunk, rules=rule)


def units(case: Case) -> tuple[Unit, ...]:
    """Every module but the embedding, in load order."""
    return _units(case.model, step_of(case), cache_bits(case), cache_tokens(case))


@lru_cache(maxsize=64)
def _units(model: Model, step: Step, bits: CacheBits, tokens: int) -> tuple[Unit, ...]:
    head_bits = TIED_HEAD_BITS if model.checkpoint.scheme.startswith("exl2") else PLAIN_BITS
    return tuple(_unit(block, model.architecture, step, bits, tokens) for block in blocks(model, head_bits))


def _unit(block: Block, architecture: Architecture, step: Step, bits: CacheBits, tokens: int) -> Unit:
    hidden = architecture.hidden_size
    if block.kind is BlockKind.HEAD:
        scratch = _unpacked(hidden * architecture.vocab_size, step.rules)
        scratch += FLOAT * architecture.vocab_size * step.tokens + SLACK if step.rules.head_forward else 0
        return Unit(block=block, scratch=scratch, reserve=scratch, working=(HALF + FLOAT) * architecture.vocab_size * step.batch)
    if block.layer is None:
        return Unit(block=block)
    layer = architecture.layers[block.layer]
    if block.kind is BlockKind.ATTENTION:
        return _attention(block, layer, hidden, step, tokens * layer_token_bytes(layer, bits))
    scratch = _feed_forward(layer, hidden, step)
    return Unit(block=block, scratch=scratch, reserve=scratch, working=2 * HALF * step.tokens * hidden)


def _unpacked(elements: int, rule: Rules) -> int:
    """One matrix in half precision, or the part of it that is unpacked at once."""
    most = rule.dequantised_at_most
    return HALF * (elements if most is None else min(elements, most)) + SLACK


def _attention(block: Block, layer: Layer, hidden: int, step: Step, cache_bytes: int) -> Unit:
    mixers = [mixer for mixer in layer.mixers if isinstance(mixer, FullAttention | SlidingAttention)]
    heads = max((mixer.query_heads for mixer in mixers), default=0)
    queries = max((mixer.query_heads * mixer.key_dim for mixer in mixers), default=0)
    keys = max((mixer.kv_heads * (mixer.key_dim + mixer.value_dim) for mixer in mixers), default=0)
    grouped = any(mixer.kv_heads != mixer.query_heads for mixer in mixers)
    widths = {"hidden": hidden, "heads": queries, "larger": max(queries, hidden)}
    scratch = HALF * step.tokens * widths[step.rules.state_widths] + SLACK + _unpacked(queries * hidden, step.rules)
    projected = HALF * step.tokens * (queries + keys) + 3 * SLACK
    repeated = 2 * HALF * step.length * step.batch * queries + SLACK if grouped else 0
    flash = int(step.attention_cells // (step.chunk / _EFFICIENCY))
    return Unit(
        block=block,
        scratch=scratch,
        reserve=scratch + projected + repeated,
        attention_plain=2 * HALF * step.attention_cells * heads + SLACK,
        attention_flash=2 * HALF * flash * heads + SLACK,
        working=projected + 2 * HALF * step.tokens * hidden,
        scores=2 * HALF * min(step.chunk * step.chunk, step.chunk * step.length) * heads + repeated,
        cache_bytes=cache_bytes,
    )


def _feed_forward(layer: Layer, hidden: int, step: Step) -> int:
    """State, two intermediates and one unpacked matrix; experts also gather their inputs and keep the router's output."""
    match layer.feed_forward:
        case DenseFeedForward(intermediate=width):
            inner = 2 * HALF * step.tokens * max(hidden, width)
            return HALF * step.tokens * hidden + inner + _unpacked(width * hidden, step.rules) + 3 * SLACK
        case ExpertFeedForward(intermediate=width, experts=experts):
            inner = 2 * HALF * step.tokens * width + HALF * step.tokens * experts
            return 2 * HALF * step.tokens * hidden + inner + _unpacked(width * hidden, step.rules) + 5 * SLACK
        case None:
            return 0


def table_positions_bytes(case: Case) -> int:
    """Sine and cosine of every position, once a device, in half precision."""
    tables = case.model.architecture.rotary
    dim = max((table.dim for table in tables), default=0)
    return 2 * HALF * dim * (case.settings.integer("max_seq_len") or 0)


def constant_bytes(case: Case) -> int:
    """What the loader takes off every split before it begins: those tables, one hidden state and one mask."""
    step = step_of(case)
    return table_positions_bytes(case) + HALF * step.tokens * case.model.architecture.hidden_size + HALF * step.chunk**2 * step.batch
