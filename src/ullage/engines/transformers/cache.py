"""What each kind of ``cache_implementation`` keeps on a device, and what growing it needs for a moment."""

from collections import Counter

from ullage.catalog.tensor_formats import model_dtype
from ullage.domain.architecture import CrossAttention, FullAttention, LatentAttention, Layer, Mixer, Recurrent, SlidingAttention
from ullage.domain.case import Case
from ullage.domain.checkpoint import TensorFormat
from ullage.engines.transformers.activation import FLOAT, copied_width
from ullage.engines.transformers.placement import Share
from ullage.engines.transformers.versions import repeats_heads, rules
from ullage.engines.transformers.weights import activation_bytes
from ullage.formulas.cache import layers_bytes
from ullage.formulas.sharding import ceil_div
from ullage.frozen import dataclass, replace

DYNAMIC, OFFLOADED, QUANTIZED = "dynamic", "offloaded", "quantized"
STATIC = ("static", "offloaded_static", "sliding_window", "hybrid", "hybrid_chunked", "offloaded_hybrid", "offloaded_hybrid_chunked")
QUANTISERS = {"quanto": (2, 4), "hqq": (1, 2, 3, 4, 8)}
OFFLOADED_LAYERS = 2  # the layer at work and the next, fetched ahead


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes on the device, bytes on the host, and the arithmetic."""

    nbytes: int
    host: int
    because: str


def implementation(case: Case) -> str:
    """The cache's name."""
    return case.settings.text("cache_implementation") or DYNAMIC


def as_kept(case: Case, mixer: Mixer) -> Mixer:
    """The mixer as its cache sees it in this release: latents unfolded to heads, windows not cut, where the release does so."""
    if isinstance(mixer, LatentAttention) and not rules(case).latent_cache:
        return FullAttention(
            query_heads=mixer.query_heads,
            kv_heads=mixer.query_heads,
            key_dim=mixer.nope_dim + mixer.rope_dim,
            value_dim=mixer.value_dim,
        )
    if isinstance(mixer, SlidingAttention) and not rules(case).windows_cut and implementation(case) not in STATIC:
        return _unwindowed(mixer)
    return mixer


def _unwindowed(mixer: SlidingAttention) -> FullAttention:
    return FullAttention(query_heads=mixer.query_heads, kv_heads=mixer.kv_heads, key_dim=mixer.key_dim, value_dim=mixer.value_dim)


def layers_of(case: Case, share: Share, *, prompt: bool = False) -> tuple[Layer, ...]:
    """The share's layers as their caches are kept. After a prompt a cut window is still a view of the whole prompt."""
    whole = prompt and implementation(case) not in STATIC
    layers = [case.model.architecture.layers[index] for index in share.layers]
    seen = {layer: _layer_as_kept(case, layer, whole=whole) for layer in dict.fromkeys(layers)}
    return tuple(seen[layer] for layer in layers)


def _layer_as_kept(case: Case, layer: Layer, *, whole: bool) -> Layer:
    mixers = tuple(as_kept(case, mixer) for mixer in layer.mixers)
    if whole:
        mixers = tuple(_unwindowed(mixer) if isinstance(mixer, SlidingAttention) else mixer for mixer in mixers)
    return replace(layer, mixers=mixers)


def cache_format(case: Case) -> TensorFormat:
    """The format of keys and values: that of the activations."""
    return model_dtype(case.settings.text("dtype") or case.model.architecture.dtype)


def plain_bytes(case: Case, layers: tuple[Layer, ...], tokens: int) -> int:
    """Keys, values and states of all sequences in full precision."""
    fmt, each = cache_format(case), Counter(layers)
    return case.workload.concurrent_sequences * sum(count * layers_bytes((layer,), tokens=tokens, fmt=fmt) for layer, count in each.items())


def kept(case: Case, share: Share, *, tokens: int, prompt: bool = False) -> Kept:
    """What the share's layers keep after ``tokens`` tokens of each sequence."""
    kind, layers = implementation(case), layers_of(case, share, prompt=prompt)
    if kind in STATIC:
        tokens = static_tokens(case)
    whole = plain_bytes(case, layers, tokens)
    rows = case.workload.concurrent_sequences
    because = f"{rows:,} x {tokens:,} tokens over {len(layers)} layers in {cache_format(case).name}"
    if kind.startswith(OFFLOADED):
        largest = max((plain_bytes(case, (layer,), tokens) for layer in dict.fromkeys(layers)), default=0)
        here = min(whole, OFFLOADED_LAYERS * largest)
        return Kept(here, whole - min(whole, largest), f"{because}; {OFFLOADED_LAYERS} layers at a time, the rest on the host")
    if kind == QUANTIZED:
        return Kept(*_quantised(case, layers, tokens, whole), f"{because}, {_bits(case)} bits in groups of {_group(case)}")
    if kind in STATIC:
        because += ", allocated for the whole length with the first token"
    return Kept(whole, 0, because)


def static_tokens(case: Case) -> int:
    """Tokens a static cache is made for."""
    return case.settings.integer("max_cache_len") or case.workload.context_tokens or 0


def _bits(case: Case) -> int:
    return case.settings.integer("cache_nbits") or 4


def _group(case: Case) -> int:
    return case.settings.integer("cache_q_group_size") or 64


def _quantised(case: Case, layers: tuple[Layer, ...], tokens: int, whole: int) -> tuple[int, int]:
    """Packed keys and values with a scale and a zero per group, and the latest tokens in full precision."""
    size = activation_bytes(case)
    residual = min(tokens, case.settings.integer("cache_residual_length") or 128)
    late = plain_bytes(case, layers, residual) if tokens else 0
    elements = (whole - late) // size
    return ceil_div(elements * _bits(case), 8) + ceil_div(elements, _group(case)) * 2 * size + late, 0


def growth(case: Case, share: Share, *, tokens: int) -> tuple[int, str]:
    """What making one more token needs for a moment on this device beside the cache, and why.

    A dynamic cache is joined into a new tensor, one layer's keys at a time; releases before 4.42 keep the whole old cache meanwhile.
    Attention on repeated heads copies one layer's keys and values for every query head.
    """
    layers, size, rows = layers_of(case, share), activation_bytes(case), case.workload.concurrent_sequences
    kind = implementation(case)
    moments = [(0, "nothing grows")]
    for layer in dict.fromkeys(layers):
        one = plain_bytes(case, (layer,), tokens)
        if kind in {DYNAMIC, OFFLOADED} and not rules(case).old_cache_kept:
            moments.append((one // 2, "one layer's keys, old and new at once"))
        if kind == QUANTIZED:
            moments.append((2 * one, "one layer unpacked, and joined with the latest tokens"))
        moments.extend(_attention_copies(case, mixer, tokens * rows, size) for mixer in layer.mixers)
    nbytes, because = max(moments)
    if rules(case).old_cache_kept and kind == DYNAMIC:
        whole = plain_bytes(case, layers, tokens)
        return whole + nbytes, "the whole old cache beside the new one" + (f", and {because}" if nbytes else "")
    return nbytes, because


def _attention_copies(case: Case, mixer: Mixer, tokens: int, size: int) -> tuple[int, str]:
    if isinstance(mixer, Recurrent | CrossAttention):
        return 0, "a fixed state"
    copies = 0
    if repeats_heads(case):
        copies = tokens * size * copied_width(mixer)
    if isinstance(mixer, LatentAttention) and rules(case).latent_cache:
        copies = tokens * size * mixer.query_heads * (2 * mixer.nope_dim + mixer.rope_dim + mixer.value_dim)
    if case.settings.text("attn_implementation") == "eager":
        copies += tokens * mixer.query_heads * (2 * size + FLOAT)
    return copies, "one layer's keys and values repeated for every query head"
