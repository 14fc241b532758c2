"""What must hold of readings kept in bounded memory."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ullage.domain.ledger import Phase, Purpose
from ullage.planning.tally import KEPT, Tally, growth_of, seen_of


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=1 << 40), min_size=1, max_size=1500))
def test_any_number_of_readings_is_kept_in_bounded_memory_with_the_exact_count_and_maximum(readings: list[int]) -> None:
    tally = Tally()
    for nbytes in readings:
        tally = tally.plus("gpu0", None, Phase.DECODE, nbytes)
    (seen,) = seen_of(tally)
    assert (seen.samples, seen.max_bytes) == (len(readings), max(readings))
    assert min(readings) <= seen.p50_bytes <= seen.p95_bytes <= seen.max_bytes
    assert len(tally.terms[0][1].sample.values) <= KEPT


def test_percentiles_of_a_long_run_are_those_of_the_whole_run() -> None:
    tally = Tally()
    for number in range(10_000):
        tally = tally.plus("gpu0", None, Phase.DECODE, number, tokens=number // 2, reached=number == 77)
    (seen,) = seen_of(tally)
    assert abs(seen.p50_bytes - 5000) < 100
    assert abs(seen.p95_bytes - 9500) < 100
    assert seen.reached
    (growth,) = growth_of(tally)
    assert abs(growth.bytes_per_token - 2) < 0.1


def test_terms_are_kept_apart() -> None:
    tally = Tally().plus("gpu0", None, Phase.DECODE, 5).plus("gpu0", Purpose.KV_CACHE, Phase.DECODE, 3).plus("gpu1", None, Phase.LOAD, 1)
    assert [(seen.device, seen.purpose, seen.phase, seen.max_bytes) for seen in seen_of(tally)] == [
        ("gpu0", None, Phase.DECODE, 5),
        ("gpu0", Purpose.KV_CACHE, Phase.DECODE, 3),
        ("gpu1", None, Phase.LOAD, 1),
    ]
    assert growth_of(tally) == ()
