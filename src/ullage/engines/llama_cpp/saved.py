"""What the server saves in host memory while it runs: prompts of idle slots, and checkpoints of caches that cannot be rolled back."""

from ullage.domain.architecture import ChunkedAttention, Recurrent, SlidingAttention
from ullage.domain.case import Case
from ullage.domain.ledger import Amount
from ullage.engines.llama_cpp.cache import by_device, cells, mixer_state_bytes, row_bytes, windows_known
from ullage.units import MiB

_KEPT_PROMPTS = 2  # without a limit the cache still holds at most some prompts; a plan allows for two whole contexts


def saved_prompts(case: Case) -> Amount:
    """Bytes of saved prompts: nothing at first, up to the limit where work varies. A prompt takes its cache's bytes."""
    limit = case.settings.integer("cache_ram") or 0
    if limit == 0 or case.settings.flag("embedding"):
        return Amount(0, 0, 0)
    kept = cells(case)
    whole = sum(keys + state for keys, state in by_device(case).values()) // max(1, kept.streams)
    most = whole * _KEPT_PROMPTS if limit < 0 else limit * MiB
    return Amount(0, 0, most) if whole else Amount(0, 0, 0)


def saved_states(case: Case) -> Amount:
    """Bytes of context checkpoints: windows and recurrent state of one sequence each."""
    count, slots = case.settings.integer("ctx_checkpoints") or 0, max(1, case.settings.integer("n_parallel") or 1)
    each = 0
    for layer in case.model.architecture.layers:
        for mixer in layer.mixers:
            match mixer:
                case SlidingAttention() | ChunkedAttention() if windows_known(case):
                    tokens = mixer.window_tokens if isinstance(mixer, SlidingAttention) else mixer.chunk_tokens
                    each += min(tokens, cells(case).tokens) * row_bytes(case, mixer)
                case Recurrent():
                    each += mixer_state_bytes(case, mixer) // slots
                case _:
                    pass
    return Amount(0, each, each * count * slots) if count else Amount(0, 0, 0)
