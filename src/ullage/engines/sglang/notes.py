"""What a reader of the plan should know and the numbers alone do not say."""

from collections.abc import Iterator

from ullage.catalog.at_load import stand_in
from ullage.domain.case import Case
from ullage.domain.ledger import Ledger
from ullage.engines.sglang.activation import dual_chunk_workspace, request_table
from ullage.engines.sglang.cache import has_window_pool
from ullage.engines.sglang.capacity import scarcest
from ullage.engines.sglang.fraction import is_multimodal
from ullage.engines.sglang.ranks import fraction, ranks
from ullage.engines.sglang.resolve import defaults, rules, uses_dual_chunk
from ullage.engines.sglang.sizing import draft_layers
from ullage.engines.sglang.versions import DUAL_CHUNK_BACKEND, DUAL_CHUNK_FIRST, Tower
from ullage.frozen import replace
from ullage.units import GiB, format_bytes


def notes(case: Case, _ledger: Ledger) -> tuple[str, ...]:
    """One sentence each."""
    return (*stand_in(case), *_fraction(case), *_table(case), *_model(case), *_long_prefill(case), *_speculation(case))


def _fraction(case: Case) -> Iterator[str]:
    unsaid = replace(case, settings=case.settings.without("mem_fraction_static"))
    if case.devices and defaults(unsaid)["mem_fraction_static"] == case.settings.number("mem_fraction_static"):
        yield (
            f"mem_fraction_static is {fraction(case):.3g} by the rule of {case.version}: {rules(case).reserve}; it bounds weights and "
            "pool, and activations, graphs and the request table live in the rest"
        )


def _table(case: Case) -> Iterator[str]:
    if not case.devices:
        return
    amount, because = request_table(case, scarcest(case))
    if amount.expected >= GiB // 2:
        yield f"the request table takes {format_bytes(amount.expected)} outside the budget: {because}; --max-running-requests shrinks it"


def _model(case: Case) -> Iterator[str]:
    windows = {type(mixer).__name__ for layer in case.model.architecture.layers for mixer in layer.mixers} & {
        "SlidingAttention",
        "ChunkedAttention",
    }
    if windows and not has_window_pool(case):
        yield f"SGLang {case.version} keeps windows of this family like full attention: they save no cache"
    if is_multimodal(case) and rules(case).tower is Tower.ALWAYS:
        yield "this release lowers mem_fraction_static of vision models, a stated one too"
    if case.model.is_quantised:
        yield "quantised weights change neither activations nor the cache: its bytes per token stay as they are"


def _long_prefill(case: Case) -> Iterator[str]:
    if case.model.architecture.dual_chunk is not None and case.version < DUAL_CHUNK_FIRST:
        yield f"SGLang {case.version} does not know dual chunk attention and runs the model with ordinary attention"
    work = dual_chunk_workspace(case)
    if work is None or not uses_dual_chunk(case) or not case.devices:
        return
    rank = scarcest(case)
    tokens = case.workload.context_tokens or case.settings.integer("context_length") or 0
    cache = tokens * rank.pool.full * case.workload.concurrent_sequences
    really = rank.weights.nbytes + cache + work.live_bytes + work.workspace.expected
    yield (
        f"really needed on {rank.device.id} for {tokens:,} tokens: weights and tables {format_bytes(rank.weights.nbytes)} + cache "
        f"{format_bytes(cache)} + live activations {format_bytes(work.live_bytes)} + dual chunk workspace "
        f"{format_bytes(work.workspace.expected)} = {format_bytes(really)}, {format_bytes(really * len(ranks(case)))} over all devices"
    )
    yield f"dual chunk attention needs --attention-backend {DUAL_CHUNK_BACKEND}, which the plan sets, and runs without the prefix cache"


def _speculation(case: Case) -> Iterator[str]:
    if draft_layers(case) and not rules(case).draft_budgeted:
        yield f"SGLang {case.version} does not count the draft's weights and cache: they come on top of mem_fraction_static"
    if draft_layers(case) and case.settings.text("speculative_draft_model_path"):
        yield "the draft model is not known; one layer and a head are assumed"
