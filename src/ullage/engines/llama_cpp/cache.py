"""The cache: cells of each kind of layer, bytes of keys, values and recurrent state, by device."""

from collections import defaultdict
from functools import lru_cache

from ullage.catalog.tensor_formats import F32
from ullage.domain.architecture import (
    ChunkedAttention,
    CompressedAttention,
    CrossAttention,
    FullAttention,
    LatentAttention,
    Mixer,
    Recurrent,
    SharedCache,
    SlidingAttention,
)
from ullage.domain.case import Case, Model
from ullage.domain.checkpoint import TensorFormat
from ullage.engines.llama_cpp.placement import ON_HOST, place
from ullage.engines.llama_cpp.resolve import padded, rules
from ullage.engines.llama_cpp.settings import cache_format
from ullage.formulas.cache import state_bytes
from ullage.frozen import dataclass

# Families whose windows llama.cpp knows; it keeps the whole context of every other one (Mistral, Qwen2, Phi-3).
WINDOWED = (
    "gemma2", "gemma3", "gemma4", "cohere2", "gpt_oss", "llama4", "exaone4", "exaone_moe", "olmo3", "mimo_v2", "step3p5", "step3p7",
    "afmoe", "deepseek_v4", "granite_swa", "smallthinker", "plamo3",
)  # fmt: skip
_LATENT, _LATENT_AND_TRANSPOSE = (2, 3), 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Cells of one stream, streams, and the cells a sliding-window layer has."""

    tokens: int  # n_ctx_seq: the longest sequence
    streams: int
    window_of: tuple[tuple[int, int], ...]  # (window, cells of a stream)

    @property
    def total(self) -> int:
        """n_ctx: cells of a full layer over all streams."""
        return self.tokens * self.streams

    def windowed(self, window: int) -> int:
        """Cells of one stream in a layer of that window."""
        return dict(self.window_of).get(window, self.tokens)


def windows_known(case: Case) -> bool:
    """Whether this build keeps less for this model's sliding-window layers."""
    known = case.model.architecture.model_type.startswith(WINDOWED)
    return known and rules(case).window_cache and not case.settings.flag("swa_full")


def _windows(case: Case) -> set[int]:
    found = set()
    for layer in case.model.architecture.layers:
        for mixer in layer.mixers:
            match mixer:
                case SlidingAttention() | CompressedAttention():
                    found.add(mixer.window_tokens)
                case ChunkedAttention():
                    found.add(mixer.chunk_tokens)
                case _:
                    pass
    return found


def cells(case: Case) -> Cells:
    """The padding rules: a shared cache is padded once, each slot's own cache by itself, so the total may be more than was asked for."""
    settings, slots, rule = case.settings, max(1, case.settings.integer("n_parallel") or 1), rules(case)
    block = rule.pad_cells if settings.text("flash_attn") == "off" else rule.pad_cells_flash
    asked = padded(max(1, settings.integer("ctx_size") or 1), block)
    streams = 1 if settings.flag("kv_unified") else slots
    tokens = asked if streams == 1 else padded(asked // slots, block)
    if not windows_known(case):
        return Cells(tokens=tokens, streams=streams, window_of=())
    step = settings.integer("ubatch_size") or 512
    found = []
    for window in sorted(_windows(case)):
        need = min(tokens, window * (slots if streams == 1 else 1) + min(step, tokens))
        found.append((window, padded(need) if rule.window_padded else padded(need, 32)))
    return Cells(tokens=tokens, streams=streams, window_of=tuple(found))


def mixer_cells(case: Case, mixer: Mixer) -> int:
    """Cells of one stream in a layer of that mixer; 0 where it keeps none of its own."""
    kept = cells(case)
    match mixer:
        case SlidingAttention() | CompressedAttention():
            return kept.windowed(mixer.window_tokens)
        case ChunkedAttention():
            return kept.windowed(mixer.chunk_tokens)
        case FullAttention() | LatentAttention():
            return kept.tokens
        case CrossAttention():
            return mixer.source_tokens
        case Recurrent() | SharedCache():
            return 0


def is_latent(case: Case) -> bool:
    """Whether MLA keeps its latent: by build, by ik_llama.cpp's -mla, and only for files that split kv_b."""
    said = case.settings.integer("mla_attn")
    if said is not None:
        return said > 0
    return rules(case).latent_cache and not _is_joined(case.model)


@lru_cache(maxsize=64)
def _is_joined(model: Model) -> bool:
    """Whether the weights are a GGUF file from before kv_b was split in two."""
    names = [tensor.name for tensor in model.checkpoint.tensors if tensor.name.startswith("blk.")]
    return bool(names) and not any("attn_k_b" in name for name in names)


def row_bytes(case: Case, mixer: Mixer) -> int:
    """Bytes of one cell of a layer."""
    key, value = (cache_format(case.settings.text(name) or "f16") for name in ("cache_type_k", "cache_type_v"))
    match mixer:
        case FullAttention():
            index = key.nbytes(mixer.indexer.key_dim) if mixer.indexer else 0
            return _pair(mixer.kv_heads * mixer.key_dim, _value_width(case, mixer), key, value) + index
        case SlidingAttention() | ChunkedAttention() | CrossAttention():
            return _pair(mixer.kv_heads * mixer.key_dim, _value_width(case, mixer), key, value)
        case LatentAttention():
            return _latent_row(case, mixer, key, value)
        case CompressedAttention():
            return key.nbytes(mixer.key_dim)
        case Recurrent() | SharedCache():
            return 0


def _pair(keys: int, values: int, key: TensorFormat, value: TensorFormat) -> int:
    return key.nbytes(keys) + value.nbytes(values)


def _value_width(case: Case, mixer: FullAttention | SlidingAttention | ChunkedAttention | CrossAttention) -> int:
    """Without flash attention values lie transposed, and all layers' are as wide as the widest."""
    own = mixer.kv_heads * mixer.value_dim
    if case.settings.text("flash_attn") != "off" or not rules(case).window_cache:
        return own
    return max(own, widest_values(case.model.architecture.layers))


@lru_cache(maxsize=64)
def widest_values(layers: tuple[object, ...]) -> int:
    """The widest values of any layer."""
    kinds = (FullAttention, SlidingAttention, ChunkedAttention)
    return max((m.kv_heads * m.value_dim for layer in layers for m in layer.mixers if isinstance(m, kinds)), default=0)  # type: ignore[attr-defined]


def _latent_row(case: Case, mixer: LatentAttention, key: TensorFormat, value: TensorFormat) -> int:
    if not is_latent(case):
        heads = mixer.query_heads
        return _pair(heads * (mixer.nope_dim + mixer.rope_dim), heads * mixer.value_dim, key, value)
    transpose = value.nbytes(mixer.latent_dim) if case.settings.integer("mla_attn") == _LATENT_AND_TRANSPOSE else 0
    return key.nbytes(mixer.latent_dim + mixer.rope_dim) + transpose + (key.nbytes(mixer.indexer.key_dim) if mixer.indexer else 0)


def mixer_cache_bytes(case: Case, mixer: Mixer) -> int:
    """Keys and values of one layer over all streams."""
    kept = cells(case)
    nbytes = mixer_cells(case, mixer) * row_bytes(case, mixer) * kept.streams
    if isinstance(mixer, CompressedAttention) and mixer.ratio:
        key = cache_format(case.settings.text("cache_type_k") or "f16")
        each = key.nbytes(mixer.key_dim) + (key.nbytes(mixer.indexer.key_dim) if mixer.indexer else 0)
        nbytes += padded(-(-kept.tokens // mixer.ratio)) * each * kept.streams
    return nbytes


def mixer_state_bytes(case: Case, mixer: Mixer) -> int:
    """Recurrent state of one layer: 32 bits whatever the model says, for every slot and every token drafted ahead."""
    if not isinstance(mixer, Recurrent):
        return 0
    slots = max(1, case.settings.integer("n_parallel") or 1)
    return state_bytes(mixer, conv_fmt=F32, state_fmt=F32) * slots * (1 + (case.settings.integer("spec_draft_n_max") or 0))


@lru_cache(maxsize=128)
def by_device(case: Case) -> dict[str, tuple[int, int]]:
    """(keys and values, state) bytes on each device; ``ON_HOST`` is the host."""
    if not case.model.architecture.is_decoder:
        return {}
    found: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    stays = case.settings.flag("kv_offload") is False
    for where, layer in zip(place(case).layers, case.model.architecture.layers, strict=True):
        device = ON_HOST if stays else where
        keys, state = found[device]
        found[device] = (
            keys + sum(mixer_cache_bytes(case, mixer) for mixer in layer.mixers),
            state + sum(mixer_state_bytes(case, mixer) for mixer in layer.mixers),
        )
    return dict(found)
