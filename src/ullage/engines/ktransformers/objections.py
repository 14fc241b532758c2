"""What the engine refuses, at the start or when the request arrives, with the text it prints."""

from collections.abc import Iterator

from ullage.domain.case import Case
from ullage.domain.plan import Limit, Objection
from ullage.engines.ktransformers.classic_cache import cache_tokens
from ullage.engines.ktransformers.kernel_pool import pool
from ullage.engines.ktransformers.kernel_weights import gpu_bytes, gpu_experts, weights
from ullage.engines.ktransformers.resolve import BALANCE_SERVE, LOCAL_CHAT, context_of, is_latent, prompt_of
from ullage.engines.ktransformers.versions import CLASSIC_FAMILIES, Product, classic_rules, kernel_rules, product
from ullage.units import format_bytes

_CHUNK_STEP = 1024


def objections(case: Case) -> tuple[Objection, ...]:
    """In the order in which the engine would meet them."""
    if product(case) is Product.CLASSIC:
        return (*_family(case), *_layout(case), *_names(case), *_length(case))
    return (*_kernel_flags(case), *_pool(case))


def _family(case: Case) -> Iterator[Objection]:
    kind = case.model.architecture.model_type
    since = CLASSIC_FAMILIES.get(kind)
    if since is None or case.version < since:
        later = "kt-kernel (0.4 on) runs every model of SGLang" if since is None else f"it came with {since}"
        yield Objection(
            text=f"Model {case.model.name} not supported. Please check your model directory or model name.",
            why=f"KTransformers {case.version} has no rules for models of type {kind}; {later}",
            next_step=f"--engine-version {since or '0.7.2'}",
        )


def _layout(case: Case) -> Iterator[Objection]:
    if case.parallel.tensor > 1 or case.parallel.data > 1:
        yield Objection(
            text="unrecognized arguments: --tensor-parallel-size",
            why="the classic server spreads whole layers over GPUs (transfer_map) and cuts no tensor",
            next_step=f"--pp {case.parallel.devices}",
        )


def _names(case: Case) -> Iterator[Objection]:
    rule, said = classic_rules(case.version.parts), case.settings
    if said.text("backend_type") == BALANCE_SERVE and not rule.balance_serve:
        yield Objection(
            text="balance_serve not implemented",
            why=f"balance_serve came with 0.2.4; this is {case.version}",
            next_step="--engine-version 0.3.2, or backend_type=ktransformers",
        )
    if said.text("backend_type") == BALANCE_SERVE and case.parallel.devices > 1:
        yield Objection(
            text="gpu_device_count = 1",
            why=f"balance_serve keeps its cache on one GPU, and {case.parallel.devices} are asked for",
            next_step="--pp 1, or backend_type=ktransformers",
        )
    chunk = said.integer("chunk_size") or 0
    if said.text("backend_type") == BALANCE_SERVE and chunk > _CHUNK_STEP and chunk % _CHUNK_STEP:
        yield Objection(
            text="chunk_size must <= 1024 or a multiple of 1024",
            why=f"balance_serve captures graphs in steps of 1,024 tokens, and chunk_size is {chunk:,}",
            next_step=f"chunk_size={chunk // _CHUNK_STEP * _CHUNK_STEP}",
        )
    if said.flag("absorb_for_prefill") and is_latent(case) and not rule.absorb_setting:
        yield Objection(
            text="__init__() got an unexpected keyword argument 'absorb_for_prefill'",
            why=f"absorb_for_prefill came with 0.2.2; this is {case.version}",
            next_step="leave it out, or --engine-version 0.2.3",
        )
    if "chunk_size" in case.stated and rule.prefill.name == "ABSORBED" and not rule.score_rows_settable and chunk != rule.score_rows:
        yield Objection(
            text="__init__() got an unexpected keyword argument 'chunck_size'",
            why=f"attention of {case.version} works in pieces of {rule.score_rows} queries, which no setting changes",
            next_step="leave it out, or --engine-version 0.1.4",
        )


def _length(case: Case) -> Iterator[Objection]:
    """Prompt and new tokens that pass the cache: what looks like a bug is a size."""
    if case.settings.text("backend_type") == LOCAL_CHAT:
        return
    cache, need, prompt = cache_tokens(case), context_of(case), prompt_of(case)
    if case.workload.prompt_tokens is not None and "max_new_tokens" in case.stated:
        need = max(need, prompt + (case.settings.integer("max_new_tokens") or 0))
    if need <= cache:
        return
    rule = classic_rules(case.version.parts)
    if not rule.length_checked:
        text = f"RuntimeError: The size of tensor a ({cache}) must match the size of tensor b ({need}) at non-singleton dimension 3"
    elif prompt >= cache:
        text = f"input_ids_length {prompt} > cache_lens {cache}"
    else:
        text = "seq_length bigger than cache_lens, killed"
    yield Objection(
        text=text,
        why=f"prompt + new tokens > cache_lens: {need:,} tokens are asked for, and the static cache holds {cache:,}",
        next_step=f"cache_lens={-(-need // 256) * 256}, with max_new_tokens and the prompt inside it",
        limit=Limit.CACHE,
    )


def _kernel_flags(case: Case) -> Iterator[Objection]:
    rule, said = kernel_rules(case.version.parts), case.settings
    late = (
        ("kt_gpu_prefill_token_threshold", rule.prefill_threshold, "0.4.3"),
        ("kt_gpu_experts_ratio", rule.ratio, "0.5.1"),
        ("kt_expert_placement_strategy", rule.ratio, "0.5.1"),
        ("kt_enable_dynamic_expert_update", rule.ratio, "0.5.1"),
    )
    for name, known, since in late:
        if said.has(name) and not known:
            flag = f"--{name.replace('_', '-')}"
            yield Objection(
                text=f"error: unrecognized arguments: {flag}",
                why=f"{flag} came with {since}; this is {case.version}",
                next_step=f"leave it out, or --engine-version {since}",
            )
    if case.parallel.pipeline > 1 or case.parallel.data > 1:
        yield Objection(
            text="kt-kernel wraps the experts of one pipeline stage",
            why="host experts are planned with tensor parallelism only",
            next_step=f"--tp {case.parallel.devices}",
        )


def _pool(case: Case) -> Iterator[Objection]:
    """Weights that fit the card and leave no cache under the share; weights that do not fit fail while loading and are no refusal."""
    for device in case.devices:
        found, used = pool(case, device), gpu_bytes(case)
        if found.tokens.expected > 0 or used > found.free.expected:
            continue
        fraction = case.settings.number("mem_fraction_static") or 0.0
        enough = min(0.98, round(used / found.free.expected + 0.03, 2))
        fewer = max(0, gpu_experts(case) - -(-(used - found.budget.expected) // max(1, weights(case).one_expert)) - 1)
        less = f", or kt_num_gpu_experts={fewer}" if gpu_experts(case) else ""
        yield Objection(
            text="Not enough memory. Please try to increase --mem-fraction-static.",
            why=(
                f"{format_bytes(used)} of weights are more than {fraction:g} of the {format_bytes(found.free.expected)} free on "
                f"{device.id}, so nothing is left for the cache"
            ),
            next_step=f"mem_fraction_static={enough:g}{less}",
            limit=Limit.CACHE,
        )
        return
