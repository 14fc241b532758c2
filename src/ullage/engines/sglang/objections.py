"""Why SGLang will not start, before it is tried, in the words it will print."""

import math
from collections.abc import Iterator

from ullage.catalog.at_load import refused_at_load
from ullage.domain.architecture import (
    ChunkedAttention,
    CompressedAttention,
    CrossAttention,
    FullAttention,
    LatentAttention,
    SharedCache,
    SlidingAttention,
)
from ullage.domain.case import Case
from ullage.domain.plan import Limit, Objection
from ullage.engines.sglang import versions as fact
from ullage.engines.sglang.capacity import scarcest
from ullage.engines.sglang.ranks import Rank, fraction
from ullage.engines.sglang.resolve import attention_data, attention_tensor, has_dual_chunk
from ullage.engines.sglang.versions import DUAL_CHUNK_BACKEND, DUAL_CHUNK_FIRST, DUAL_CHUNK_LAST
from ullage.units import format_bytes

ALLOW_LONGER = "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN"
_NEVER = ("exl2", "exl3", "sym_int", "asym_int", "quanto", "eetq", "hqq")


def objections(case: Case) -> tuple[Objection, ...]:
    """Everything the start-up checks will refuse, the first check first."""
    early = (*_shape(case), *_length(case), *_dual_chunk(case), *_formats(case), *refused_at_load(case))
    if early or not case.devices:
        return early
    return (*_pool(case),)


def _shape(case: Case) -> Iterator[Objection]:
    tensor, ranks = case.parallel.tensor, attention_tensor(case)
    said = case.settings.integer("dp_size") or 1
    if case.settings.flag("enable_dp_attention") and tensor % said:
        yield Objection(
            text=f"AssertionError: tp_size ({tensor}) must be divisible by dp_size ({said})",
            why=f"data-parallel attention shares {tensor} tensor-parallel ranks among {said} groups",
            next_step=f"--dp-size {math.gcd(tensor, said)}",
        )
        return
    attention = FullAttention | SlidingAttention | ChunkedAttention | LatentAttention | CompressedAttention | CrossAttention | SharedCache
    mixers = {mixer for layer in case.model.architecture.layers for mixer in layer.mixers}
    heads = max((mixer.query_heads for mixer in mixers if isinstance(mixer, attention) and mixer.query_heads % ranks), default=0)
    if heads:
        fitting = max(degree for degree in range(1, ranks + 1) if heads % degree == 0)
        yield Objection(
            text="AssertionError: assert self.total_num_heads % attn_tp_size == 0",
            why=f"{heads} heads cannot be shared evenly by {ranks} ranks",
            next_step=f"--tp-size {fitting * attention_data(case)}",
        )
    kept = {mixer.kv_heads for mixer in mixers if isinstance(mixer, FullAttention | SlidingAttention | ChunkedAttention)}
    for count in sorted(kept):
        if count % ranks and ranks % count:
            yield Objection(
                text="AssertionError: assert self.total_num_kv_heads % attn_tp_size == 0",
                why=f"{count} key/value heads can be neither shared evenly by {ranks} ranks nor repeated on them",
                next_step=f"--tp-size {math.gcd(count, ranks) * attention_data(case)}",
            )
            break


def _length(case: Case) -> Iterator[Objection]:
    length, most = case.settings.integer("context_length") or 0, case.model.architecture.max_context_tokens
    allowed = dict(case.environment).get(ALLOW_LONGER, "").lower() in {"1", "true"}
    if most is None or length <= most or allowed:
        return
    yield Objection(
        text=(
            f"Warning: User-specified context_length ({length}) is greater than the derived context_length ({most}). This may lead to "
            "incorrect model outputs or CUDA errors. Note that the derived context_length may differ from max_position_embeddings in "
            f"the model's config. To allow overriding this maximum, set the env var {ALLOW_LONGER}=1"
        ),
        why=f"the model was made for {most:,} positions and {length:,} were asked for",
        next_step=f"--context-length {most}",
    )


def _dual_chunk(case: Case) -> Iterator[Objection]:
    """The backend exists in 0.5.1 to 0.5.19; before, the settings are not read, and after, the model has no attention to run on."""
    dual, asked = case.model.architecture.dual_chunk, case.settings.text("attention_backend")
    where = f"--engine-version {DUAL_CHUNK_LAST} with --attention-backend {DUAL_CHUNK_BACKEND}"
    if asked == DUAL_CHUNK_BACKEND and not DUAL_CHUNK_FIRST <= case.version <= DUAL_CHUNK_LAST:
        yield Objection(
            text=f"launch_server.py: error: argument --attention-backend: invalid choice: '{DUAL_CHUNK_BACKEND}'",
            why=f"SGLang {DUAL_CHUNK_FIRST} to {DUAL_CHUNK_LAST} have this backend, {case.version} has not",
            next_step=where,
        )
        return
    if dual is None:
        return
    trained = dual.original_max_tokens or dual.chunk_tokens
    if case.version > DUAL_CHUNK_LAST:
        yield Objection(
            text="NotImplementedError: DualChunkRotaryEmbedding has no native path",
            why=f"the configuration asks for dual chunk attention, which SGLang removed after {DUAL_CHUNK_LAST}",
            next_step=f"{where}, or remove dual_chunk_attention_config from config.json and --context-length {trained}",
        )
    elif case.version < DUAL_CHUNK_FIRST and (case.settings.integer("context_length") or 0) > trained:
        yield Objection(
            text="dual_chunk_attention_config is not read by this release; it starts with ordinary attention",
            why=f"positions above {trained:,} were trained for dual chunk attention only, which came with {DUAL_CHUNK_FIRST}",
            next_step=f"{where}, or --context-length {trained}",
        )
    elif has_dual_chunk(case) and asked != DUAL_CHUNK_BACKEND:
        yield Objection(
            text=(
                f"ValueError: Dual chunk attention is enabled, but attention backend is set to {asked}. Please set it to "
                f"'{DUAL_CHUNK_BACKEND}'."
            ),
            why="the model's configuration asks for dual chunk attention",
            next_step=f"--attention-backend {DUAL_CHUNK_BACKEND}",
        )
    elif has_dual_chunk(case) and dual.step_tokens % (case.settings.integer("page_size") or 1):
        yield Objection(
            text="ValueError: chunk_len must be divisible by block_size.",
            why=f"chunk_size - local_size is {dual.step_tokens}, the page {case.settings.integer('page_size')} tokens",
            next_step="--page-size 64",
        )


def _formats(case: Case) -> Iterator[Objection]:
    scheme = case.model.checkpoint.scheme.lower()
    if scheme.startswith(_NEVER):
        yield Objection(
            text=f"ValueError: Unknown quantization method: {scheme.split()[0]}",
            why="no release of SGLang reads this format",
            next_step="another quantisation (awq, gptq, fp8), or the engine this format belongs to",
        )


def _pool(case: Case) -> Iterator[Objection]:
    """No room for the pool, or a window pool that cannot take one request."""
    rank = scarcest(case)
    if rank.pool.cell == 0 and not rank.pool.slot:
        return
    if rank.loaded.expected + fact.CONTEXT.value > rank.device.total_bytes - rank.device.reserved_bytes:
        return  # it dies while loading, before any check
    if rank.sizes.tokens <= 0 and (rank.pool.cell or rank.sizes.slots <= 0):
        yield _no_room(case, rank)
    elif rank.pool.window_tokens is not None and case.version.parts >= (0, 5, 20):
        page, window = case.settings.integer("page_size") or 1, rank.pool.window_tokens
        if window + page >= rank.sizes.window_tokens:
            yield Objection(
                text=(
                    f"ValueError: SWA pool ({rank.sizes.window_tokens} tokens) cannot hold even one request: the prefill admission floor "
                    f"is sliding_window_size ({window}) + page_size ({page}). Increase --swa-full-tokens-ratio or the total KV budget."
                ),
                why=f"windows of {window:,} tokens need a pool larger than {window + page:,}",
                next_step=f"--max-total-tokens {math.ceil((window + page + 1) / rank.pool.ratio)} or a higher --mem-fraction-static",
                limit=Limit.CACHE,
            )


def least_fraction(rank: Rank) -> float:
    """The smallest fraction that leaves anything for the pool: what loading took of what was free, rounded up to a thousandth."""
    return math.ceil(rank.loaded.expected / max(1, rank.before.expected) * 1000) / 1000


def _no_room(case: Case, rank: Rank) -> Objection:
    share, least = fraction(case), least_fraction(rank)
    text = "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static."
    if case.version.parts >= (0, 5, 14) and rank.rest.expected <= 0:
        text = (
            f"ValueError: Loaded weights leave no GPU memory for the KV cache under --mem-fraction-static={share:g}. Raise "
            f"--mem-fraction-static above {least:.3f} (minimum viable = 1 - available/pre = "
            f"{rank.loaded.expected / max(1, rank.before.expected):.4f}). If using speculative decoding, draft weights are now counted."
        )
    possible = least < 0.97  # noqa: PLR2004 - above it no room is left for a step
    return Objection(
        text=text,
        why=(
            f"on {rank.device.id} loading takes {format_bytes(rank.loaded.expected)} of the {format_bytes(rank.budget)} that "
            f"mem_fraction_static {share:g} allows"
        ),
        next_step=f"--mem-fraction-static above {least:.3f}" if possible else "more devices, or quantised weights",
        limit=Limit.CACHE if possible else Limit.WEIGHTS,
    )
