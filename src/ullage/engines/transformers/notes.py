"""What a reader of the plan should know and the numbers alone do not say."""

from collections.abc import Iterator

from ullage.catalog.at_load import stand_in
from ullage.domain.architecture import LatentAttention, SlidingAttention
from ullage.domain.case import Case
from ullage.domain.ledger import Ledger
from ullage.domain.machine import HOST
from ullage.engines.transformers import activation, continuous
from ullage.engines.transformers.capacity import token_bytes
from ullage.engines.transformers.placement import shares, single_device
from ullage.engines.transformers.versions import last_logits_only, rules
from ullage.units import format_bytes

LONG_PROMPT = 8192


def notes(case: Case, _ledger: Ledger) -> tuple[str, ...]:
    """One sentence each."""
    return (*stand_in(case), *_model(case), *_prompt(case), *_cache(case), *_placement(case))


def _model(case: Case) -> Iterator[str]:
    if case.model.architecture.dual_chunk is not None:
        limit = case.model.architecture.dual_chunk.original_max_tokens
        yield (
            "Transformers does not implement dual chunk attention: the model runs with ordinary attention, which it was trained for up "
            f"to {limit:,} tokens; an out-of-memory error on a long prompt here is the unchunked MLP, not dual chunk attention"
        )
    if not rules(case).dtype_is_auto and "dtype" not in case.stated and case.settings.text("dtype") == "float32":
        yield f"Transformers {case.version} loads in float32 unless a dtype is given; torch_dtype=auto halves the weights"


def _prompt(case: Case) -> Iterator[str]:
    if continuous.is_continuous(case):
        return
    architecture, tokens = case.model.architecture, case.workload.prompt_tokens or 0
    if not last_logits_only(architecture.model_type, case.version):
        rows = activation.query_tokens(case) * case.workload.concurrent_sequences
        nbytes = rows * architecture.vocab_size * activation.FLOAT
        yield f"this release computes the logits of all {rows:,} prompt positions, {format_bytes(nbytes)} as float32"
    if tokens >= LONG_PROMPT and activation.query_tokens(case) == tokens:
        yield f"the prompt of {tokens:,} tokens runs through every layer in one piece; prefill_chunk_size would cut it"


def _cache(case: Case) -> Iterator[str]:
    mixers = [mixer for layer in case.model.architecture.layers for mixer in layer.mixers]
    if any(isinstance(mixer, LatentAttention) for mixer in mixers) and not rules(case).latent_cache:
        yield f"this release caches keys and values of every head instead of the latent: {token_bytes(case):,} bytes per token"
    if any(isinstance(mixer, SlidingAttention) for mixer in mixers):
        if rules(case).windows_cut:
            yield "sliding layers keep the whole prompt until the first new token, and only the window after it"
        else:
            yield "the dynamic cache of this release keeps every token of sliding layers too"
    if case.model.is_quantised:
        yield "quantised weights change neither activations nor the cache: its bytes per token stay as they are"


def _placement(case: Case) -> Iterator[str]:
    if single_device(case) is None and len(case.devices) > 1:
        yield "Accelerate divides by bytes of weights alone; cache, activations and logits come on top and are not even"
    away = sum(share.nbytes for share in shares(case) if share.device == HOST)
    if away and case.devices and single_device(case) is None:
        yield f"{format_bytes(away)} of weights stay on the host and are copied to the first device for every token"
