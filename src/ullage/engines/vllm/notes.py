"""What a reader of the plan should know and the numbers alone do not say."""

from collections.abc import Iterator

from ullage.catalog.at_load import stand_in
from ullage.domain.case import Case
from ullage.domain.ledger import Ledger
from ullage.engines.vllm import dual_chunk
from ullage.engines.vllm.needed import need
from ullage.engines.vllm.processor import READ_BY_KERNEL, THRESHOLD, has_latents, keeps_pieces, on_processor, plain_latents
from ullage.engines.vllm.resolve import rules
from ullage.engines.vllm.versions import Accounting, Core
from ullage.units import format_bytes


def notes(case: Case, _ledger: Ledger) -> tuple[str, ...]:
    """One sentence each."""
    return (*stand_in(case), *_engine(case), *_long_prefill(case), *_outside(case), *_unprofiled(case), *_processor(case))


def _engine(case: Case) -> Iterator[str]:
    core = rules(case).core
    if (0, 8) <= case.version.parts < (0, 11):
        yield f"vLLM {case.version} has two engines; this plan is for {core}"
    if rules(case).chunked_above and case.settings.flag("enable_chunked_prefill") and "enable_chunked_prefill" not in case.stated:
        yield (
            f"chunked prefill is on because max_model_len is above {rules(case).chunked_above:,}; a shorter length would profile the whole "
            "length in one batch and can leave less room for the cache"
        )


def _long_prefill(case: Case) -> Iterator[str]:
    if not dual_chunk.applies(case):
        if case.model.architecture.dual_chunk is not None and rules(case).core is Core.V0:
            yield f"vLLM {case.version} does not know dual chunk attention and would run the model with ordinary attention"
        return
    seen = need(case)
    yield (
        f"really needed on {seen.device} for {seen.context_tokens:,} tokens: {seen} of "
        f"{format_bytes(case.machine.device(seen.device).total_bytes)}, {format_bytes(seen.nbytes * case.parallel.devices)} "
        "over all devices; the pool takes the rest of the budget"
    )
    yield "dual chunk attention needs VLLM_USE_V1=0, VLLM_ATTENTION_BACKEND=DUAL_CHUNK_FLASH_ATTN and --enforce-eager; the plan sets them"


def _outside(case: Case) -> Iterator[str]:
    rule = rules(case)
    if not rule.graphs_budgeted and not on_processor(case) and not case.settings.flag("enforce_eager"):
        yield "CUDA graphs are captured after the cache is made and lie outside gpu_memory_utilization in this release"
    if rule.accounting is Accounting.EVERYTHING:
        yield "this release counts everything on the device against its budget, other processes too"
    if case.settings.integer("num_gpu_blocks_override") is not None:
        yield "the cache is as large as num_gpu_blocks_override says, whatever the profile finds"


def _unprofiled(case: Case) -> Iterator[str]:
    if case.model.architecture.encoder_tokens and not case.settings.flag("language_model_only"):
        yield "images or audio add the encoder's own activations, which the high end allows for; --limit-mm-per-prompt bounds them"
    if case.model.is_quantised:
        yield "quantised weights change neither activations nor the cache: its bytes per token stay as they are"


def _processor(case: Case) -> Iterator[str]:
    if not on_processor(case):
        return
    yield (
        "the engine's processes share pages of libraries: their proportional sizes add up to this plan, their resident sizes to some "
        "400 MiB more for one worker"
    )
    yield "the engine reads one node of memory; this plan takes the machine's memory as that node"
    cached = case.settings.text("kv_cache_dtype") or "auto"
    if cached not in READ_BY_KERNEL:
        known = ", ".join(sorted(READ_BY_KERNEL))
        yield f"the processor's attention reads a cache of {known}; with {cached} it starts, and its answers make no sense"
    if keeps_pieces(case):
        yield f"with {THRESHOLD}=262144 and MALLOC_TRIM_THRESHOLD_=131072 the allocator gives back what loading freed"
    if not case.settings.flag("enforce_eager"):
        yield "the first start compiles the model, which can take minutes; --enforce-eager does without"
    if plain_latents(case):
        yield "without AMX latent attention runs as written: whole scores of a prompt, which grow with the square of its length"
    elif case.machine.devices[0].multiplies_tiles is None and has_latents(case):
        yield "this plan is for a processor that multiplies tiles (AMX); others take blocks of 16 tokens and whole scores of a prompt"
