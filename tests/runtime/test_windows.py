"""The walk over the cache against dense attention in float64: windows, soft caps, sinks, any pages, any merge."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.dense_reference import attention
from torch import Tensor

from ullage.engines.runtime.pages import Group, Rows
from ullage.runtime.attend.kernels import Merged, attend, attend_plainly
from ullage.runtime.attend.segments import Angle
from ullage.runtime.attend.step import Piece, Step
from ullage.runtime.attend.walk import Scales, Walk
from ullage.runtime.cache.pool import Pool

HEADS, KV_HEADS, DIM = 4, 2, 16
CPU = torch.device("cpu")


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def close(found: Tensor, expected: Tensor, tolerance: float = 2e-6) -> bool:
    return bool((found.double() - expected.double()).abs().max() <= tolerance * max(1.0, float(expected.abs().max())))


def unturned(_rows: slice, _angle: Angle) -> Tensor:
    raise AssertionError("only dual chunk attention turns queries again")


def walked(qkv: tuple[Tensor, Tensor, Tensor], scales: Scales, window: int | None, bounds: list[int], page: int) -> Tensor:
    """What comes out of a layer that reads the tokens in the chunks ``bounds`` delimit, a neighbour taking every other page."""
    group = Group(window=window, layers=(0,), rows=(Rows(heads=KV_HEADS, key_dim=DIM, value_dim=DIM),))
    pool = Pool((group,), budget_bytes=1 << 30, page_tokens=page, lanes=1, lane_tokens=4096, dtype=torch.float32, device=CPU)
    tables, neighbour, beside = pool.new_tables(), pool.new_tables(), 0
    found = []
    for start, end in pairwise(bounds):
        while tables[0].missing(end):
            beside += page
            assert pool.grow(neighbour, beside)
            assert pool.grow(tables, tables[0].reach + page)
        piece = Piece(tables=tables, tokens=(0,) * (end - start), start=start, length=end, wants_logits=False)
        step = Step([piece], pool, dual=None, sharp_from=None, device=CPU)
        walk = Walk(*pool.arenas[0].held(0), scales)
        query, key, value = (part[start:end] for part in qkv)
        key, value = walk.write(step.groups[0], key, value)
        found.append(walk.attend(step.groups[0], query, key, value, unturned))
        pool.slide(tables, end)
    return torch.cat(found)


def dense(qkv: tuple[Tensor, Tensor, Tensor], scales: Scales, window: int | None) -> Tensor:
    query, key, value = (part.double().transpose(0, 1) for part in qkv)
    key, value = (part.repeat_interleave(HEADS // KV_HEADS, 0) for part in (key, value))
    scores = query @ key.mT * scales.scale
    return attention(query, key, value, scores, window=window, softcap=scales.softcap, sinks=scales.sinks).transpose(0, 1)


@settings(max_examples=80, deadline=None)
@given(
    tokens=st.integers(1, 150),
    cuts=st.lists(st.integers(1, 149), max_size=6),
    window=st.none() | st.integers(1, 160),
    softcap=st.none() | st.sampled_from((0.5, 5.0)),
    sinks=st.booleans(),
    page=st.sampled_from((1, 4, 7, 32)),
)
def test_windows_caps_and_sinks_are_exact_in_any_chunks_and_pages(
    *, tokens: int, cuts: list[int], window: int | None, softcap: float | None, sinks: bool, page: int
) -> None:
    qkv = drawn(1, tokens, HEADS, DIM), drawn(2, tokens, KV_HEADS, DIM), drawn(3, tokens, KV_HEADS, DIM)
    scales = Scales(scale=0.3, softcap=softcap, sinks=drawn(4, HEADS) if sinks else None)
    bounds = sorted({0, tokens, *(cut for cut in cuts if cut < tokens)})
    assert close(walked(qkv, scales, window, bounds, page), dense(qkv, scales, window))


@pytest.mark.parametrize("window", [511, 512, 513, 700])
def test_wide_windows_and_long_chunks_are_exact_around_the_size_of_a_block(window: int) -> None:
    tokens = 1500
    qkv = drawn(1, tokens, HEADS, DIM), drawn(2, tokens, KV_HEADS, DIM), drawn(3, tokens, KV_HEADS, DIM)
    scales = Scales(scale=0.3)
    assert close(walked(qkv, scales, window, [0, 1000, 1499, 1500], 32)[:1024], dense(qkv, scales, window)[:1024])


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 40),
    keys=st.integers(1, 90),
    shared=st.sampled_from((1, 2, 4)),
    causal=st.booleans(),
    masked=st.booleans(),
    dtype=st.sampled_from((torch.float32, torch.bfloat16)),
)
def test_the_fused_kernel_and_its_plain_twin_agree(
    *, rows: int, keys: int, shared: int, causal: bool, masked: bool, dtype: torch.dtype
) -> None:
    keys = rows if causal else keys
    query, key, value = (
        drawn(seed, 1, heads, length, DIM).to(dtype)
        for seed, heads, length in ((1, 4, rows), (2, 4 // shared, keys), (3, 4 // shared, keys))
    )
    bias = None
    if masked and not causal:
        bias = torch.zeros(rows, keys, dtype=dtype).masked_fill_(drawn(4, rows, keys) > 0, float("-inf"))
    fused, plain = (kernel(query, key, value, 0.2, causal=causal, bias=bias) for kernel in (attend, attend_plainly))
    exact = 2e-6 if dtype == torch.float32 else 2e-2
    assert torch.equal(torch.isneginf(fused[1]), torch.isneginf(plain[1]))  # a query that sees nothing weighs nothing
    seen = ~torch.isneginf(plain[1])
    assert not seen.any() or close(fused[0][seen], plain[0][seen], exact)
    assert not seen.any() or close(fused[1][seen], plain[1][seen], exact)


@settings(max_examples=40, deadline=None)
@given(keys=st.integers(2, 120), cuts=st.lists(st.integers(1, 119), max_size=6), order=st.randoms(use_true_random=False))
def test_pieces_merge_to_the_whole_in_any_order(keys: int, cuts: list[int], order: object) -> None:
    query, key, value = drawn(1, 1, 4, 5, DIM), 3 * drawn(2, 1, 2, keys, DIM), drawn(3, 1, 2, keys, DIM)
    whole, lse = attend_plainly(query.double(), key.double(), value.double(), 0.5)
    parts = list(pairwise(sorted({0, keys, *(cut for cut in cuts if cut < keys)})))
    order.shuffle(parts)  # type: ignore[attr-defined]
    merged = Merged()
    for start, end in parts:
        merged.add(*attend(query, key[:, :, start:end], value[:, :, start:end], 0.5))
    found, found_lse = merged.pair()
    assert close(found, whole)
    assert close(found_lse, lse)


def test_a_piece_that_a_query_sees_nothing_of_changes_nothing() -> None:
    query, key, value = drawn(1, 1, 4, 5, DIM), drawn(2, 1, 2, 9, DIM), drawn(3, 1, 2, 9, DIM)
    hidden = torch.full((5, 9), float("-inf"))
    for pieces in ((None, hidden), (hidden, None)):
        merged = Merged()
        for bias in pieces:
            merged.add(*attend(query, key, value, 0.5, bias=bias))
        assert close(merged.result(), attend(query, key, value, 0.5)[0])
