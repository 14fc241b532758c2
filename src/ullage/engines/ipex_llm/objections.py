"""Why a build will not start or will stop at its first long prompt, before it is tried, in the words it prints."""

from collections.abc import Iterator

from ullage.domain.architecture import CompressedAttention, LatentAttention, Recurrent, SharedCache
from ullage.domain.case import Case
from ullage.domain.plan import Limit, Objection
from ullage.engines.ipex_llm.activation import largest_request, score_bytes
from ullage.engines.ipex_llm.capacity import sequence_blocks
from ullage.engines.ipex_llm.ranks import Rank, is_capped, is_limited, scarcest
from ullage.engines.ipex_llm.resolve import is_served, on_cpu
from ullage.engines.ipex_llm.versions import LARGEST_BLOCK, rules
from ullage.engines.ipex_llm.weights import packed, unpacked_bytes
from ullage.units import GiB, format_bytes


def objections(case: Case) -> tuple[Objection, ...]:
    """Everything that will be refused, the first check first."""
    if not is_served(case):
        return (*_host(case), *_largest(case))
    early = (*_model(case), *_shape(case), *_lengths(case), *_features(case))
    return early or (*_host(case), *_largest(case), *_cache(case))


def _model(case: Case) -> Iterator[Objection]:
    unknown = (Recurrent, CompressedAttention, SharedCache)
    found = next((m for layer in case.model.architecture.layers for m in layer.mixers if isinstance(m, unknown)), None)
    if found is not None or not case.model.architecture.is_decoder:
        name = case.model.architecture.class_name
        yield Objection(
            text=f"Model architectures ['{name}'] are not supported for now.",
            why=f"the {rules(case).fork} fork of vLLM keeps keys and values of attention layers only; {name} needs more",
            next_step="vLLM's own XPU build, or mode=api",
        )
    latent = any(isinstance(m, LatentAttention) for layer in case.model.architecture.layers for m in layer.mixers)
    if latent and rules(case).fork == "0.3.3":
        yield Objection(
            text=f"Model architectures ['{case.model.architecture.class_name}'] are not supported for now.",
            why="the 0.3.3 fork has no multi-head latent attention",
            next_step="--engine-version 2.2.0",
        )


def _shape(case: Case) -> Iterator[Objection]:
    ways = case.parallel.tensor
    if rules(case).bigdl and case.parallel.devices > 1:
        yield Objection(
            text="error: unrecognized arguments: --tensor-parallel-size",
            why="the server of BigDL-LLM runs on one device",
            next_step="--tp 1, or --engine-version 2.2.0",
        )
    heads = {getattr(m, "query_heads", ways) for layer in case.model.architecture.layers for m in layer.mixers}
    odd = sorted(count for count in heads if count % ways)
    if odd:
        yield Objection(
            text=f"Total number of attention heads ({odd[0]}) must be divisible by tensor parallel size ({ways}).",
            why=f"{odd[0]} heads cannot be shared evenly by {ways} cards",
            next_step=f"--tensor-parallel-size {max(d for d in range(1, ways + 1) if odd[0] % d == 0)}",
        )


def _lengths(case: Case) -> Iterator[Objection]:
    length, tokens = case.settings.integer("max_model_len") or 0, case.settings.integer("max_num_batched_tokens") or 0
    slots, most = case.settings.integer("max_num_seqs") or 0, case.model.architecture.max_context_tokens
    if most is not None and length > most:
        yield Objection(
            text=f"User-specified max_model_len ({length}) is greater than the derived max_model_len (max_position_embeddings={most}).",
            why=f"the model was made for {most:,} positions",
            next_step=f"--max-model-len {most}",
        )
    if tokens < length and not case.settings.flag("enable_chunked_prefill"):
        yield Objection(
            text=(
                f"ValueError: max_num_batched_tokens ({tokens}) is smaller than max_model_len ({length}). This effectively limits the "
                "maximum sequence length to max_num_batched_tokens and makes vLLM reject longer sequences. Please increase "
                "max_num_batched_tokens or decrease max_model_len."
            ),
            why="the fork runs a prompt in one piece, so a step must hold the longest one",
            next_step=f"--max-num-batched-tokens {length}, or --max-model-len {tokens}",
        )
    if tokens < slots:
        yield Objection(
            text=f"max_num_batched_tokens ({tokens}) must be greater than or equal to max_num_seqs ({slots}).",
            why="every running sequence needs one token of a step",
            next_step=f"--max-num-seqs {tokens}",
        )


def _features(case: Case) -> Iterator[Objection]:
    rule = rules(case)
    if (case.settings.text("kv_cache_dtype") or "auto") != "auto" and not rule.fp8_cache and not on_cpu(case):
        yield Objection(
            text="NotImplementedError: IPEX backend does not support FP8 KV cache. Please use xFormers backend instead.",
            why=f"the {rule.fork} fork keeps keys and values in 16 bits",
            next_step="--kv-cache-dtype auto, or --engine-version 2.2.0",
        )
    if case.settings.flag("enable_chunked_prefill") and not rule.chunked_prefill:
        yield Objection(
            text="RuntimeError: IPEX backend doesn't support prefix decoding.",
            why=f"the {rule.fork} fork cannot go on with a prompt that was cut",
            next_step="leave --enable-chunked-prefill out and give --max-num-batched-tokens of --max-model-len, or --engine-version 2.2.0",
        )


def _host(case: Case) -> Iterator[Objection]:
    """The 16-bit model must lie in host memory while it is packed."""
    host, need = case.machine.host, unpacked_bytes(case)
    if host is not None and need > host.total_bytes - host.reserved_bytes:
        have = host.total_bytes - host.reserved_bytes
        yield Objection(
            text="Killed",
            why=f"the model is packed on the host, which needs {format_bytes(need)} in 16 bits and has {format_bytes(have)}",
            next_step="pack it once on a larger host (save_low_bit) and load that",
            limit=Limit.HOST,
        )


def _largest(case: Case) -> Iterator[Objection]:
    """A single block above 4 GB, of a step or of the weights."""
    device = next((device for device in case.devices if is_limited(device)), None)
    if device is None:
        return
    request, heaviest = largest_request(case), max((t.nbytes // t.copies for t in packed(case).checkpoint.tensors), default=0)
    nbytes, because = request.amount.expected, request.because
    weights = heaviest // case.parallel.tensor
    if weights > max(nbytes, LARGEST_BLOCK.value):
        nbytes, because = weights, "the largest matrix of the weights"
    if nbytes <= LARGEST_BLOCK.value:
        return
    yield Objection(
        text=(
            "RuntimeError: Current platform can NOT allocate memory block with size larger than 4GB! Tried to allocate "
            f"{nbytes / GiB:.2f} GiB (GPU  0; {device.total_bytes / GiB:.2f} GiB total capacity"
        ),
        why=f"one block of {format_bytes(nbytes)} is asked for ({because}), and {device.name} gives at most 4 GiB at once",
        next_step=_smaller_step(case, nbytes),
        limit=Limit.WORKSPACE,
    )


def _smaller_step(case: Case, nbytes: int) -> str:
    """A length whose largest block stays within 4 GB: scores grow with its square, everything else with it."""
    scores = score_bytes(case) >= nbytes
    share = (LARGEST_BLOCK.value / nbytes) ** (0.5 if scores else 1)
    if not is_served(case):
        return f"--context {max(1, int((case.workload.context_tokens or 1) * share))}"
    length = max(1, int((case.settings.integer("max_model_len") or 1) * share))
    return f"--max-model-len {length} --max-num-batched-tokens {length}" + (", or a build from August 2024 on" if scores else "")


def _cache(case: Case) -> Iterator[Objection]:
    rank = scarcest(case)
    if not rank.block_bytes or rank.weights.nbytes > rank.device.total_bytes:
        return  # it dies while loading, before any check
    if rank.blocks.expected <= 0:
        yield _no_room(rank)
        return
    length, size = case.settings.integer("max_model_len") or 1, case.settings.integer("block_size") or 1
    have = rank.blocks.expected
    if sequence_blocks(case, length) > have:
        yield Objection(
            text=(
                f"The model's max seq len ({length}) is larger than the maximum number of tokens that can be stored in KV cache "
                f"({have * size}). Try increasing `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine."
            ),
            why=f"{'the stated cache' if is_capped(case) else 'what the budget leaves'} on {rank.device.id} holds {have * size:,} tokens",
            next_step=f"--max-model-len {have * size}",
            limit=Limit.CACHE,
        )


def _no_room(rank: Rank) -> Objection:
    alone = rank.weights.nbytes > rank.budget
    return Objection(
        text="No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.",
        why=(
            f"on {rank.device.id} weights of {format_bytes(rank.weights.nbytes)} and what the profile counts come to "
            f"{format_bytes(rank.fixed.expected)}; the budget is {format_bytes(rank.budget)}"
        ),
        next_step="--load-in-low-bit sym_int4 or more cards" if alone else "a smaller --max-num-batched-tokens, or a higher fraction",
        limit=Limit.WEIGHTS if alone else Limit.CACHE,
    )
