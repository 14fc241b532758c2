"""What both ExLlama engines share: caches of so many bits with one 16-bit scale for 32 elements, and the size of a layer's cache."""

from collections.abc import Sequence
from functools import cache

from ullage.catalog.tensor_formats import F16, FP8_E5M2
from ullage.domain.architecture import ChunkedAttention, FullAttention, LatentAttention, Layer, SlidingAttention
from ullage.domain.checkpoint import TensorFormat
from ullage.domain.ledger import Amount
from ullage.domain.provenance import Constant
from ullage.frozen import dataclass

SCALE_GROUP = 32
PAGE_TOKENS = 256
TIED_HEAD_BITS = 6  # what both converters give the head unless told otherwise


@dataclass(frozen=True, slots=True)
class CacheBits:
    """The formats of keys and of values."""

    key: TensorFormat
    value: TensorFormat

    @property
    def is_quantised(self) -> bool:
        """Whether anything but half precision is kept."""
        return self.key is not F16


@cache
def grouped(bits: int) -> TensorFormat:
    """``bits`` bits an element and a 16-bit scale for every 32."""
    return TensorFormat(name=f"q{bits}", block_elements=SCALE_GROUP, block_bytes=SCALE_GROUP * bits // 8 + 2)


HALF = CacheBits(F16, F16)
EIGHT_BIT_FLOAT = CacheBits(FP8_E5M2, FP8_E5M2)


@cache
def pair(key_bits: int, value_bits: int) -> CacheBits:
    """A cache of so many bits for keys and for values."""
    return CacheBits(grouped(key_bits), grouped(value_bits))


def layer_token_bytes(layer: Layer, bits: CacheBits) -> int:
    """Keys and values of one token in one layer that caches the whole length; rotary parts of latents and indexer keys stay in 16 bits."""
    total = 0
    for mixer in layer.mixers:
        match mixer:
            case FullAttention() | SlidingAttention() | ChunkedAttention():
                total += bits.key.nbytes(mixer.kv_heads * mixer.key_dim) + bits.value.nbytes(mixer.kv_heads * mixer.value_dim)
            case LatentAttention():
                total += bits.key.nbytes(mixer.latent_dim) + F16.nbytes(mixer.rope_dim)
            case _:
                pass
        if isinstance(mixer, FullAttention | LatentAttention) and mixer.indexer is not None:
            total += F16.nbytes(mixer.indexer.key_dim)
    return total


def rounded_to_pages(tokens: int) -> int:
    """Up to whole pages of 256 tokens."""
    return -(-tokens // PAGE_TOKENS) * PAGE_TOKENS


def process_amount(seen: Constant, spans: Sequence[tuple[int, int]], index: int, *, automatic: bool) -> Amount:
    """Driver context of one card. Cards filled as the model loads stop in time, so what is unsure on them lands on the last one used."""
    low, high = seen.low or seen.value, seen.high or seen.value
    used = [at for at, (first, end) in enumerate(spans) if end > first]
    if not automatic or index not in used:
        return Amount(low, seen.value, high)
    if index != used[-1]:
        return Amount.exactly(seen.value)
    return Amount(low, seen.value, seen.value + len(used) * (high - seen.value))
