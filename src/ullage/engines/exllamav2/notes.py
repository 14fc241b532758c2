"""What a reader of the plan should know and the numbers alone do not say."""

from collections.abc import Iterator

from ullage.catalog.at_load import stand_in
from ullage.domain.architecture import FullAttention, SlidingAttention
from ullage.domain.case import Case
from ullage.domain.ledger import Ledger, Phase, Purpose
from ullage.engines.exllamav2.capacity import token_bytes
from ullage.engines.exllamav2.place import has_flash, layer_counts, placing, variants
from ullage.engines.exllamav2.settings import rules, split_numbers
from ullage.formulas.placement import imbalance
from ullage.units import GiB, format_bytes

_UNEVEN = 0.15


def notes(case: Case, planned: Ledger) -> tuple[str, ...]:
    """One sentence each."""
    return (*stand_in(case), *_split(case, planned), *_unsure(case), *_heads(case), *_cache(case))


def _split(case: Case, planned: Ledger) -> Iterator[str]:
    if len(case.devices) < 2 or case.settings.flag("tensor_parallel"):  # noqa: PLR2004 - one card has nothing to share
        return
    spans = placing(case).spans
    counts = "/".join(str(count) for count in layer_counts(case, spans))
    used = [planned.at(device.id, Phase.RESIDENT).expected for device in case.devices]
    yield f"layers per card: {counts}; in use once loaded: {' / '.join(format_bytes(size) for size in used)}"
    if split_numbers(case) is not None:
        cache = " / ".join(format_bytes(planned.of(device.id, Purpose.KV_CACHE).expected) for device in case.devices)
        yield (
            "gpu_split counts weights and scratch, not the cache: once the weights lie, the cache is added at the end of loading on the "
            f"card of each layer, {cache}"
        )
    if imbalance(used) > _UNEVEN:
        yield f"the fullest card holds {imbalance(used):.0%} more than the mean; a balanced gpu_split leaves every card the same room"


def _unsure(case: Case) -> Iterator[str]:
    found = {placed.spans for placed in variants(case)}
    if len(found) > 1 and not case.model.checkpoint.exact:
        yield (
            "bits differ from layer to layer and only the files' headers tell them: from an average the sum over the cards is right, and "
            "the ranges show how far a card's share may move; give the model's folder for an exact placement"
        )
    if len(found) > 1 and not case.settings.has("no_flash_attn"):
        word = "taken to be there" if has_flash(case) else "taken to be absent"
        yield f"flash-attn is {word}: it changes how much a split reserves for attention, and so which layers fit each number"


def _heads(case: Case) -> Iterator[str]:
    mixers = [mixer for layer in case.model.architecture.layers for mixer in layer.mixers]
    attention = [mixer for mixer in mixers if isinstance(mixer, FullAttention | SlidingAttention)]
    if attention and all(mixer.kv_heads == mixer.query_heads for mixer in attention):
        each = token_bytes(case)
        yield (
            f"every head keeps keys and values of its own (no grouped-query attention): {each / 1024:,.0f} KiB a token, "
            f"{4096 * each / GiB:.1f} GiB for 4,096 tokens; a model with grouped heads keeps a fraction of it"
        )


def _cache(case: Case) -> Iterator[str]:
    if any(isinstance(mixer, SlidingAttention) for layer in case.model.architecture.layers for mixer in layer.mixers):
        yield "the cache keeps the whole length for sliding-window layers too"
    mode = case.settings.text("cache_mode")
    if mode == "FP8" and rules(case).dynamic:
        yield "the dynamic generator refuses the FP8 cache; Q8 takes a little more and works with it"
    if mode not in {"FP16", None}:
        yield "a quantised cache keeps one whole layer of it in 16 bits on every card"
    yield "the token table stays in host memory"
