"""Why vLLM will not start, before it is tried, in the words it will print."""

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
from ullage.engines.vllm import overhead
from ullage.engines.vllm.capacity import checked_blocks, longest, scarcest, sequence_blocks, stated_tokens
from ullage.engines.vllm.flags import flag_called
from ullage.engines.vllm.processor import on_processor
from ullage.engines.vllm.processor_objections import blocks_unread, no_memory, stages_unprepared, unbound
from ullage.engines.vllm.ranks import Rank, budget_bytes, is_capped
from ullage.engines.vllm.resolve import rules
from ullage.engines.vllm.shards import offloaded
from ullage.engines.vllm.versions import Core
from ullage.units import GiB, format_bytes

DOCUMENTED, BOTH_MEMORIES = (0, 13), (0, 22)  # releases from which the texts name a page, and the processor's memory
_PAGE = " See https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more details."


def objections(case: Case) -> tuple[Objection, ...]:
    """Everything the start-up checks will refuse, the first check first."""
    early = (*_flags(case), *_classes(case), *_shape(case), *_lengths(case), *_dual_chunk(case), *_formats(case), *refused_at_load(case))
    if early:
        return early
    if on_processor(case):
        rank = scarcest(case)
        found = (*unbound(case), *stages_unprepared(case), *blocks_unread(case, rank), *no_memory(case, rank))
        return found or tuple(_cache(case))
    return (*_free_memory(case), *_cache(case))


def _flags(case: Case) -> Iterator[Objection]:
    """Stated settings that the release's command line does not have."""
    for name in sorted(case.stated):
        flag = flag_called(name) if case.settings.has(name) else None
        if flag is None or flag.is_in(case.version.parts):
            continue
        yield Objection(
            text=f"error: unrecognized arguments: --{flag.name}",
            why=f"vLLM {case.version} has no --{flag.name}",
            next_step=flag.instead or f"leave --{flag.name} out",
        )


def _shape(case: Case) -> Iterator[Objection]:
    architecture, tensor = case.model.architecture, case.parallel.tensor
    attention = FullAttention | SlidingAttention | ChunkedAttention | LatentAttention | CompressedAttention | CrossAttention | SharedCache
    heads = {mixer.query_heads for layer in architecture.layers for mixer in layer.mixers if isinstance(mixer, attention)}
    for count in sorted(heads, reverse=True):
        if count % tensor:
            yield Objection(
                text=f"Total number of attention heads ({count}) must be divisible by tensor parallel size ({tensor}).",
                why=f"{count} heads cannot be shared evenly by {tensor} ranks",
                next_step=f"--tensor-parallel-size {max(d for d in range(1, tensor + 1) if count % d == 0)}",
            )
            break
    if case.parallel.pipeline > len(architecture.layers):
        yield Objection(
            text=f"pipeline_parallel_size ({case.parallel.pipeline}) is larger than the number of layers ({len(architecture.layers)})",
            why="every stage needs at least one layer",
            next_step=f"--pipeline-parallel-size {len(architecture.layers)}",
        )


def _lengths(case: Case) -> Iterator[Objection]:
    length, tokens = case.settings.integer("max_model_len") or 0, case.settings.integer("max_num_batched_tokens") or 0
    sequences = case.settings.integer("max_num_seqs") or 0
    most = case.model.architecture.max_context_tokens
    if most is not None and length > most and dict(case.environment).get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") != "1":
        yield Objection(
            text=(
                f"User-specified max_model_len ({length}) is greater than the derived max_model_len (max_position_embeddings={most} or "
                "model_max_length=None in model's config.json). To allow overriding this maximum, set the env var "
                "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1."
            ),
            why=f"the model was made for {most:,} positions and {length:,} were asked for",
            next_step=f"--max-model-len {most}",
        )
    if tokens < length and not case.settings.flag("enable_chunked_prefill") and case.model.architecture.is_decoder:
        yield Objection(
            text=(
                f"max_num_batched_tokens ({tokens}) is smaller than max_model_len ({length}). This effectively limits the maximum sequence "
                "length to max_num_batched_tokens and makes vLLM reject longer sequences. Please increase max_num_batched_tokens or "
                "decrease max_model_len."
            ),
            why="without chunked prefill a prompt is one batch, so the batch must hold the longest prompt",
            next_step=f"--max-num-batched-tokens {length}, or --max-model-len {tokens}, or --enable-chunked-prefill",
        )
    if tokens < sequences:
        yield Objection(
            text=f"max_num_batched_tokens ({tokens}) must be greater than or equal to max_num_seqs ({sequences}).",
            why="every running sequence needs one token of the batch",
            next_step=f"--max-num-seqs {tokens}",
        )


def _dual_chunk(case: Case) -> Iterator[Objection]:
    dual = case.model.architecture.dual_chunk
    if dual is None:
        return
    if rules(case).core is Core.V1:
        yield Objection(
            text="TypeError: FlashAttentionImpl.__init__() got an unexpected keyword argument 'layer_idx'",
            why=(
                "the configuration asks for dual chunk attention, which only the V0 engine of vLLM 0.9.0 to 0.10.2 has; "
                f"{case.version} runs V1"
            ),
            next_step=(
                "--engine-version 0.10.2 with VLLM_USE_V1=0 and VLLM_ATTENTION_BACKEND=DUAL_CHUNK_FLASH_ATTN, or remove "
                f"dual_chunk_attention_config from config.json and stay below {dual.original_max_tokens or dual.chunk_tokens:,} tokens"
            ),
        )
        return
    if case.version.parts < (0, 9):
        return
    if case.settings.flag("enforce_eager") is False:
        yield Objection(
            text="Dual chunk attention does not support CUDA graphs: enforce_eager is required",
            why="the backend asserts eager execution",
            next_step="--enforce-eager",
        )
    block = case.settings.integer("block_size") or 16
    if dual.step_tokens % block:
        yield Objection(
            text=f"chunk_size - local_size ({dual.step_tokens}) must be divisible by block_size ({block})",
            why="a chunk must end where a block ends",
            next_step="--block-size 16",
        )
    if (case.settings.text("kv_cache_dtype") or "auto").startswith("fp8"):
        yield Objection(
            text="Dual chunk attention does not support a quantised KV cache",
            why="its kernels read 16-bit keys and values",
            next_step="--kv-cache-dtype auto",
        )


# Schemes that left the tree (read from the releases; plug-in packages may bring them back), and those that never were in it.
_GONE = (("gguf", (0, 24), "0.23.0"), ("bitsandbytes", (0, 28), "0.26.0"))
_NEVER = ("exl2", "exl3", "sym_int", "asym_int", "quanto", "eetq", "q2_k", "q3_k", "iq")


# Classes that no release runs, or that a release dropped.
_NO_CLASS = {"RwkvForCausalLM": None, "T5ForConditionalGeneration": None, "BambaForCausalLM": (0, 23)}


def _classes(case: Case) -> Iterator[Objection]:
    name = case.model.architecture.class_name
    if name not in _NO_CLASS:
        return
    since = _NO_CLASS[name]
    if since is None or case.version.parts >= since:
        yield Objection(
            text=f"Model architectures [{name!r}] are not supported for now.",
            why=f"vLLM {case.version} has no implementation of {name}",
            next_step="--engine transformers" if since is None else "an engine version before " + ".".join(str(part) for part in since),
        )


def _formats(case: Case) -> Iterator[Objection]:
    scheme = case.model.checkpoint.scheme.lower()
    for word, since, last in _GONE:
        if scheme.startswith(word) and case.version.parts >= since:
            yield Objection(
                text=f"Unknown quantization method: {word}",
                why=f"{word} weights are not read by vLLM {case.version} itself",
                next_step=f"--engine-version {last}, or another quantisation (awq, gptq, fp8)",
            )
    if scheme.startswith(_NEVER):
        yield Objection(
            text=f"Unknown quantization method: {scheme.split()[0]}",
            why="no release of vLLM reads this format",
            next_step="another quantisation (awq, gptq, fp8), or the engine this format belongs to",
        )


def _free_memory(case: Case) -> Iterator[Objection]:
    """The start-up check since 0.9.1: what is free must reach the fraction of the total."""
    if rules(case).core is not Core.V1 or case.version.parts < (0, 9, 1):
        return
    fraction = case.settings.number("gpu_memory_utilization") or 0.0
    before = overhead.context(case).expected + overhead.network_outside(case).expected
    for device in case.devices:
        free, wanted = device.total_bytes - device.reserved_bytes - before, budget_bytes(case, device)
        if free >= wanted:
            continue
        named = f" {device.kind}:{device.id.removeprefix('gpu')}" if case.version.parts >= (0, 14) else ""
        fits = max(0.0, int(free / device.total_bytes * 100) / 100)
        yield Objection(
            text=(
                f"Free memory on device{named} ({free / GiB:.2f}/{device.total_bytes / GiB:.2f} GiB) on startup is less than desired GPU "
                f"memory utilization ({fraction:g}, {wanted / GiB:.2f} GiB). Decrease GPU memory utilization or reduce GPU memory used "
                "by other processes."
            ),
            why=f"{format_bytes(free)} are free on {device.id} and {format_bytes(wanted)} were asked for",
            next_step=f"--gpu-memory-utilization {fits:g}",
            limit=Limit.WORKSPACE,
        )
        return


def _cache(case: Case) -> Iterator[Objection]:
    """No room for the cache at all, or for one sequence of the model's length."""
    rank = scarcest(case)
    if not rank.pool.groups:
        return
    if not on_processor(case) and rank.weights.nbytes - offloaded(case) + overhead.context(case).expected > rank.device.total_bytes:
        return  # it dies while loading, before any check
    if rank.blocks.expected <= 0:
        yield _no_room(rank)
        return
    length = case.settings.integer("max_model_len") or 1
    need, have = sequence_blocks(case, rank.pool, length), checked_blocks(case, rank.blocks.expected)
    if need > have:
        yield _too_long(case, rank, length, need)


def _raise_or_shorten(case: Case) -> str:
    both = " (which also controls CPU memory on the CPU backend)" if case.version.parts >= BOTH_MEMORIES else ""
    advice = f"Try increasing `gpu_memory_utilization`{both} or decreasing `max_model_len` when initializing the engine."
    return advice + (_PAGE if case.version.parts >= DOCUMENTED else "")


def _no_room(rank: Rank) -> Objection:
    over = rank.fixed.expected - rank.budget
    weights_alone = rank.weights.nbytes > rank.budget
    return Objection(
        text="No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.",
        why=(
            f"on {rank.device.id} weights {format_bytes(rank.weights.nbytes)} and the rest of the fixed part come to "
            f"{format_bytes(rank.fixed.expected)}, {format_bytes(max(over, 0))} more than the budget of {format_bytes(rank.budget)}"
        ),
        next_step=(
            "more devices, or quantised weights"
            if weights_alone
            else "a smaller batch (--max-num-batched-tokens, --max-num-seqs) or a higher fraction"
        ),
        limit=Limit.WEIGHTS if weights_alone else Limit.CACHE,
    )


def _too_long(case: Case, rank: Rank, length: int, need: int) -> Objection:
    most = longest(case, rank.pool, checked_blocks(case, rank.blocks.expected))
    pool_bytes, need_bytes = rank.cache.expected, need * rank.pool.block_bytes
    where = "the stated cache" if is_capped(case) else f"the {format_bytes(pool_bytes)} the budget leaves"
    return Objection(
        text=_length_text(case, length, need_bytes, pool_bytes, most, stated_tokens(case, rank.pool, rank.blocks.expected)),
        why=(
            f"one sequence of {length:,} tokens needs {format_bytes(need_bytes)} of cache on {rank.device.id}, "
            f"and {where} holds {most:,} tokens"
        ),
        next_step=f"--max-model-len {most}" if most else "quantised weights or more devices",
        limit=Limit.CACHE,
    )


def _length_text(case: Case, length: int, need: int, have: int, most: int, tokens: int) -> str:
    at = case.version.parts
    if rules(case).core is Core.V0:
        return (
            f"The model's max seq len ({length}) is larger than the maximum number of tokens that can be stored in KV cache ({tokens}). "
            + _raise_or_shorten(case)
        )
    unit, word = ("GB" if at < (0, 8) else "GiB"), ("model's" if at >= (0, 22) else "models's")
    need_text, have_text = (f"{round(size / GiB, 2)}" if at >= (0, 16) else f"{size / GiB:.2f}" for size in (need, have))
    estimate = f" Based on the available memory, the estimated maximum model length is {most}." if at >= (0, 9) else ""
    return (
        f"To serve at least one request with the {word} max seq len ({length}), ({need_text} {unit} KV cache is needed, which is larger "
        f"than the available KV cache memory ({have_text} {unit}).{estimate} " + _raise_or_shorten(case)
    )
