"""What the engine's own words do not say, one sentence each."""

from collections.abc import Iterator

from ullage.domain.case import Case
from ullage.domain.ledger import Ledger, Purpose
from ullage.engines.ktransformers.capacity import capacity
from ullage.engines.ktransformers.classic_cache import cache_tokens, token_bytes
from ullage.engines.ktransformers.classic_prefill import ALIVE, KEPT, score_rows, scores
from ullage.engines.ktransformers.kernel_weights import gpu_experts, weights
from ullage.engines.ktransformers.placement import reads_experts
from ullage.engines.ktransformers.resolve import BALANCE_SERVE, LOCAL_CHAT
from ullage.engines.ktransformers.versions import Product, classic_rules, product
from ullage.formulas.placement import imbalance
from ullage.units import format_bytes

_UNEVEN = 0.15
_LATER_ROWS = 256


def notes(case: Case, ledger: Ledger) -> tuple[str, ...]:
    """Notes on a resolved case and its ledger."""
    if product(case) is Product.CLASSIC:
        return (*_scores(case), *_devices(case, ledger), *_files(case), *_lengths(case))
    return tuple(_kernel(case, ledger))


def _scores(case: Case) -> Iterator[str]:
    found = scores(case)
    if not found.nbytes:
        return
    cache, rows = token_bytes(case) * cache_tokens(case), score_rows(case)
    yield (
        f"the prompt's scores take {format_bytes(ALIVE * found.nbytes)} to {format_bytes(KEPT * found.nbytes)}, the whole cache "
        f"{format_bytes(cache)}: they are as wide as cache_lens however short the prompt is, so cache_lens is limited by them"
    )
    if rows > _LATER_ROWS:
        less = found.nbytes * _LATER_ROWS // rows
        yield (
            f"with chunk_size {_LATER_ROWS} in place of {rows:,} the same length needs {format_bytes(ALIVE * less)}; "
            "releases from 0.2.1 make no scores"
        )
    yield "after the prompt the first token captures a CUDA graph, which gives the scores' room back to the card"
    if len(case.devices) > 1:
        yield "one layer's scores lie on one GPU at a time: more GPUs divide weights and cache, not them, and GPU 0 meets them first"


def _devices(case: Case, ledger: Ledger) -> Iterator[str]:
    loads = [ledger.of(device.id, Purpose.WEIGHTS).expected + ledger.of(device.id, Purpose.KV_CACHE).expected for device in case.devices]
    if len(loads) > 1 and imbalance(loads) > _UNEVEN:
        yield f"weights and cache lie unevenly, {' / '.join(format_bytes(load) for load in loads)}: transfer_map moves layers"
    if len(loads) > 1:
        yield "several GPUs work one after the other on a token: they add room, not speed"


def _files(case: Case) -> Iterator[str]:
    if not classic_rules(case.version.parts).cache_flag:
        yield (
            "this release has no flag for cache_lens, max_new_tokens and max_response_tokens: they stand in "
            "ktransformers/server/backend/args.py, and the command sets all three together before it starts the server"
        )
    else:
        yield "an old ~/.ktransformers/config.yaml overrides the release's defaults: delete it after an upgrade"
    if case.machine.host is None:
        yield "the host's memory was not said; every routed expert lies there"
    if not reads_experts(case.model) and not case.settings.has("gguf_type"):
        yield "experts are read from GGUF files; q4_k_m is assumed, say gguf_type for another"


def _lengths(case: Case) -> Iterator[str]:
    said = case.settings
    if said.text("backend_type") == LOCAL_CHAT:
        yield "local_chat makes its cache as long as prompt and max_new_tokens; cache_lens has no part in it"
    elif case.workload.concurrent_sequences > 1 and said.text("backend_type") != BALANCE_SERVE:
        yield "one sequence has the whole cache; others wait (balance_serve shares it, from 0.2.4)"
    if said.text("backend_type") == BALANCE_SERVE:
        asked = (said.integer("max_batch_size") or 1) * (said.integer("max_new_tokens") or 0)
        if asked >= cache_tokens(case):
            yield f"max_batch_size x max_new_tokens = {asked:,} passes cache_lens: fewer sequences run at once than max_batch_size"


def _kernel(case: Case, ledger: Ledger) -> Iterator[str]:
    known = weights(case)
    if not known.layers:
        yield "the model has no routed experts: nothing lies on the host, and SGLang alone does the same"
        return
    yield "room is kept on the host for all routed experts, those on the GPU too"
    if case.machine.host is None:
        yield "the host's memory was not said; every routed expert lies there"
    held = capacity(case, ledger)
    more = min(known.experts - gpu_experts(case), (held.kv_cache_bytes.low - held.needed_bytes) // known.one_expert)
    if more > 0:
        count, each = gpu_experts(case) + more, format_bytes(known.one_expert)
        yield f"kt_num_gpu_experts={count} would still leave the cache asked for, {each} an expert"
    if case.settings.has("kt_gpu_prefill_token_threshold"):
        slot = format_bytes(known.whole_layer)
        yield f"a prompt above the threshold brings a whole layer's experts to the GPU, {slot}, outside the share"
