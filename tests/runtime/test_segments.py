"""The arithmetic of segments: every visible pair of query and key once, at the distance that dual chunk attention defines."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from ullage.domain.architecture import DualChunk
from ullage.runtime.attend.segments import Angle, Segment, blocks, full_segments, key_position, query_position, window_segments


def dual_of(chunk: int, local: int) -> DualChunk:
    return DualChunk(
        chunk_tokens=chunk, local_tokens=local, original_max_tokens=0, sparse=False, sparse_threshold_tokens=0, sparse_last_queries=0
    )


DUALS = st.tuples(st.integers(2, 40), st.integers(1, 39)).filter(lambda pair: pair[1] < pair[0]).map(lambda pair: dual_of(*pair))
SPANS = st.tuples(st.integers(0, 200), st.integers(1, 90)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def shows(segment: Segment, query: int, key: int) -> bool:
    """Whether the query sees that key of the segment."""
    return not (segment.diagonal and key > query) and not (segment.window is not None and key <= query - segment.window)


def pairs(start: int, end: int, dual: DualChunk | None, window: int | None) -> Counter[tuple[int, int]]:
    """How often each query of a prefill chunk meets each key."""
    met: Counter[tuple[int, int]] = Counter()
    for first, last in blocks(start, end, dual, window):
        for segment in window_segments(first, last, window) if window else full_segments(first, last, dual):
            for query in range(first, last):
                met.update((query, key) for key in range(segment.start, segment.end) if shows(segment, query, key))
    return met


@settings(max_examples=60, deadline=None)
@given(span=SPANS, dual=st.none() | DUALS)
def test_every_key_up_to_the_query_is_met_once(span: tuple[int, int], dual: DualChunk | None) -> None:
    expected = {(query, key): 1 for query in range(*span) for key in range(query + 1)}
    assert pairs(*span, dual, None) == expected


@settings(max_examples=60, deadline=None)
@given(span=SPANS, window=st.integers(1, 120))
def test_every_key_in_the_window_is_met_once(span: tuple[int, int], window: int) -> None:
    expected = {(query, key): 1 for query in range(*span) for key in range(max(0, query - window + 1), query + 1)}
    assert pairs(*span, None, window) == expected


@given(span=SPANS, window=st.integers(1, 120))
def test_only_the_edge_of_a_window_needs_a_mask(span: tuple[int, int], window: int) -> None:
    for first, last in blocks(*span, None, window):
        for segment in window_segments(first, last, window):
            hides = any(key <= query - window for query in range(first, last) for key in range(segment.start, segment.end))
            assert hides <= (segment.window == window)


@given(span=SPANS, dual=DUALS)
def test_a_block_lies_in_one_chunk_and_blocks_cover_the_span(span: tuple[int, int], dual: DualChunk) -> None:
    found = list(blocks(*span, dual))
    assert [position for block in found for position in range(*block)] == list(range(*span))
    assert all(start // dual.step_tokens == (end - 1) // dual.step_tokens for start, end in found)


def distance(query: int, key: int, dual: DualChunk) -> int:
    """Of a pair, by the angle of the segment that they meet in."""
    (segment,) = (part for part in full_segments(query, query + 1, dual) if part.start <= key < part.end)
    return query_position(query, segment.angle, dual) - key_position(key, dual)


@settings(max_examples=300)
@given(dual=DUALS, query=st.integers(0, 300), behind=st.integers(0, 300))
def test_distances_are_true_near_by_and_never_longer_than_a_chunk(dual: DualChunk, query: int, behind: int) -> None:
    key = max(0, query - behind)
    step, apart = dual.step_tokens, query // dual.step_tokens - key // dual.step_tokens
    found = distance(query, key, dual)
    assert 0 <= found <= dual.chunk_tokens
    if apart == 0 or (apart == 1 and query % step + step <= dual.chunk_tokens):
        assert found == query - key
    elif apart == 1:
        assert found == dual.chunk_tokens - key % step
    else:
        assert found == min(2 * step - 1, dual.chunk_tokens) - key % step
    if query - key <= dual.local_tokens <= step:  # a local part longer than the step would reach over two borders
        assert found == query - key


def test_the_distances_of_the_published_one_million_models() -> None:
    dual = dual_of(262_144, 8_192)
    step = 253_952
    assert dual.step_tokens == step
    assert [query_position(step + at, Angle.SUCCESSOR, dual) for at in (0, 8_191, 8_192, 8_193)] == [step, 262_143, 262_144, 262_144]
    assert query_position(960_000, Angle.INTER, dual) == 262_144
    assert (key_position(step - 1, dual), key_position(step, dual)) == (step - 1, 0)
    assert [(part.start, part.end, part.angle) for part in full_segments(761_856, 761_857, dual)] == [
        (761_856, 761_857, Angle.OWN),
        (507_904, 761_856, Angle.SUCCESSOR),
        (0, 507_904, Angle.INTER),
    ]
