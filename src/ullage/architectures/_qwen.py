"""Which layers of a Qwen model see a window only, and dual chunk attention."""

from ullage.architectures._decoder import Widths
from ullage.architectures._dense import by_type, full
from ullage.domain.architecture import DualChunk, Mixer
from ullage.domain.hyperparameters import Hyperparameters

_KEY = "dual_chunk_attention_config"


def dual_chunk(config: Hyperparameters) -> DualChunk | None:
    """Dual chunk settings; what is not stated takes the values of vLLM's attention backend."""
    settings = config.child_or_none(_KEY)
    if settings is None:
        return None
    settings.ignore("sparse_attention_config")  # which heads keep how many keys; a file of its own beside every published model
    return DualChunk(
        chunk_tokens=settings.integer_or("chunk_size", 8192, low=1),
        local_tokens=settings.integer_or("local_size", 1024),
        original_max_tokens=settings.integer_or("original_max_position_embeddings", 0),
        sparse=settings.flag("sparse_attention_enabled", default=True),
        sparse_threshold_tokens=settings.integer_or("sparse_attention_threshold", 32768),
        sparse_last_queries=settings.integer_or("sparse_attention_last_q", 64),
    )


def mixers(config: Hyperparameters, size: Widths) -> tuple[Mixer, ...]:
    """Layers from ``max_window_layers`` on see a window, where ``use_sliding_window`` turns it on and no ``layer_types`` say more."""
    windowed = config.flag("use_sliding_window", default=False)
    window_tokens = config.integer_or("sliding_window", 4096) if windowed else None
    from_layer = config.integer_or("max_window_layers", 28) if windowed else size.layers
    config.ignore("sliding_window", "max_window_layers")
    chunks = dual_chunk(config)
    if chunks is not None:
        return (full(size, dual_chunk=chunks),) * size.layers
    kinds = ("sliding_attention" if index >= from_layer else "full_attention" for index in range(size.layers))
    return by_type(config, size, window_tokens, kinds)
