"""The pool of models that keep a window and one entry for many older tokens (DeepSeek V4): four kinds of pages in one slab.

Read in v1/core/kv_cache_utils.py and models/deepseek_v4 of 0.28; a logged refusal of one million tokens is met to the last digit.
"""

from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from ullage.domain.architecture import CompressedAttention, Mixer
from ullage.engines.vllm.pages import INDEXER_KEY_EXTRA, Format
from ullage.formulas.sharding import ceil_div

MAIN_BLOCK = 256  # tokens; divided by the ratio they are the entries of a page
WINDOW_BLOCK = 64
STATE_BLOCKS = {4: 4, 128: 8}  # tokens of a page of the compressor's running state
DENSE_RATIO = 4  # at this ratio the running state covers two chunks, and the layer has an indexer
NARROW_SCALES = 8  # bytes of scales in an entry whose first part is fp8
FLASH_STEP, PLAIN_STEP = 576, 512  # a page is a multiple of this


class Pages(NamedTuple):
    """Layers whose pages are taken together: tokens of a page, the window (None: everything older), and the size of each layer's page."""

    block_tokens: int
    kept_tokens: int | None
    sizes: tuple[int, ...]


@lru_cache(maxsize=256)
def slabs(mixers: tuple[Mixer, ...], fmt: Format, *, dense: bool) -> tuple[int, tuple[Pages, ...]]:
    """Bytes of one block, and its groups. ``dense``: groups overlap from the start of the slab; before, each size had its own."""
    kept = [mixer for mixer in mixers if isinstance(mixer, CompressedAttention)]
    narrow = fmt.kv_dtype == "auto" or fmt.kv_dtype.startswith("fp8")
    step = FLASH_STEP if narrow else PLAIN_STEP

    def page(nbytes: int) -> int:
        return ceil_div(nbytes, step) * step

    main = tuple(size for mixer in kept if mixer.ratio for size in _main(mixer, fmt, narrow=narrow))
    groups = [Pages(MAIN_BLOCK, None, tuple(page(size) for size in main))] if main else []
    apart: dict[tuple[int, int], list[tuple[int, ...]]] = {}
    for mixer in kept:
        window = (page(WINDOW_BLOCK * _entry(mixer, fmt, narrow=narrow)),)
        apart.setdefault((WINDOW_BLOCK, mixer.window_tokens), []).append(window)
        if mixer.ratio in STATE_BLOCKS:
            block, chunks = STATE_BLOCKS[mixer.ratio], 2 if mixer.ratio == DENSE_RATIO else 1
            widths = (mixer.key_dim, *((mixer.indexer.key_dim,) if mixer.indexer else ()))
            states = tuple(page(block * 2 * chunks * width * 4) for width in widths)
            apart.setdefault((block, chunks * mixer.ratio), []).append(states)
    least = max(Counter(groups[0].sizes).values()) if groups else 1
    size = _group_size([least, *(len(layers) for layers in apart.values())], least)
    for (block, window_tokens), layers in apart.items():
        count = ceil_div(len(layers), size)
        groups += [
            Pages(block, window_tokens, tuple(nbytes for sizes in layers[index::count] for nbytes in sizes)) for index in range(count)
        ]
    return _block_bytes(groups, dense=dense), tuple(groups)


def _entry(mixer: CompressedAttention, fmt: Format, *, narrow: bool) -> int:
    """One kept key: its first part in fp8 with scales and its rotary part in 16 bits, or all of it in the activations' dtype."""
    return mixer.key_dim + mixer.rope_dim + NARROW_SCALES if narrow else mixer.key_dim * fmt.element


def _main(mixer: CompressedAttention, fmt: Format, *, narrow: bool) -> tuple[int, ...]:
    """A page of compressed entries, and one of the indexer's keys where there is one."""
    entries = MAIN_BLOCK // mixer.ratio
    keys = (entries * (mixer.indexer.key_dim + INDEXER_KEY_EXTRA),) if mixer.indexer else ()
    return (entries * _entry(mixer, fmt, narrow=narrow), *keys)


def _group_size(counts: list[int], least: int) -> int:
    """Layers of a group, at least ``least``: the size for which the fewest layers are padding, the larger of two alike."""
    return min(range(least, max(counts) + 1), key=lambda size: (sum(-count % size for count in counts), -size))


def _block_bytes(groups: list[Pages], *, dense: bool) -> int:
    if dense:
        return max((sum(group.sizes) for group in groups), default=1)
    places: Counter[int] = Counter()
    for group in groups:
        for nbytes, count in Counter(group.sizes).items():
            places[nbytes] = max(places[nbytes], count)
    return sum(nbytes * count for nbytes, count in places.items())
