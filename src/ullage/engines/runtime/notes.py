"""What a reader of the plan should know and the numbers alone do not say."""

from collections.abc import Iterator

from ullage.domain.case import Case
from ullage.domain.ledger import Ledger
from ullage.engines.runtime.cache import chunk_of
from ullage.engines.runtime.weights import how, resident
from ullage.units import format_bytes


def notes(case: Case, _ledger: Ledger) -> tuple[str, ...]:
    """One sentence each."""
    return (*_cache(case), *_weights(case), *_length(case), *_device(case))


def _cache(case: Case) -> Iterator[str]:
    yield (
        f"pages are taken when tokens come and given back when they leave; a step computes at most {chunk_of(case):,} tokens, and its "
        "memory does not grow with the prompt"
    )
    if case.settings.flag("prefix_cache"):
        yield "pages of answered prompts stay until their memory is needed; prefix_cache=off gives them back at once"


def _weights(case: Case) -> Iterator[str]:
    kept = how(case)
    found = resident(case.model, kept)
    if case.model.architecture.tied_embeddings and found.mapped:
        yield f"the head is the token table in a form of its own, {format_bytes(found.head)}; the table stays in the file"


def _length(case: Case) -> Iterator[str]:
    architecture, context = case.model.architecture, case.workload.context_tokens or 0
    longest = architecture.max_context_tokens
    if longest is not None and context > longest and case.settings.text("dual_chunk") is None and architecture.dual_chunk is None:
        yield f"{context:,} tokens are more than the {longest:,} the model was made for; dual_chunk={longest},{longest // 8} reads further"


def _device(case: Case) -> Iterator[str]:
    if how(case).device != "cpu":
        yield "the runtime has not been measured on GPUs; what is beside weights, cache and step is assumed there"
