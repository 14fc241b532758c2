"""What holds for every pool and every load."""

from hypothesis import given
from hypothesis import strategies as st

from ullage.domain.workload import Arrivals, Growth, LengthBin, Lengths
from ullage.planning.simulate import Pace, Pool, Request, draw, simulate

PACE = Pace(step_s=0.05, prefill_tokens_per_s=2000.0)
PAGE = 16

bins = st.lists(st.builds(LengthBin, st.integers(0, 900), st.integers(0, 300), st.integers(1, 50)), min_size=1, max_size=6)
arrivals = st.one_of(
    st.just(Arrivals()),
    st.builds(Arrivals, rate_per_s=st.floats(0.1, 50.0)),
    st.builds(Arrivals, clients=st.integers(1, 20)),
)
growths = st.sampled_from([Growth.TOKEN, Growth.REQUEST])


def lengths(found: list[LengthBin]) -> Lengths:
    return Lengths(
        bins=tuple(found),
        longest_prompt_tokens=max(one.prompt_tokens for one in found),
        longest_output_tokens=max(one.output_tokens for one in found),
        longest_total_tokens=max(one.prompt_tokens + one.output_tokens for one in found),
    )


def pages(tokens: int) -> int:
    return -(-tokens // PAGE)


def pool(size: int, slots: int, growth: Growth = Growth.TOKEN) -> Pool:
    return Pool(size, PAGE, slots, growth, pages)


@given(bins, arrivals, growths, st.integers(1, 400), st.integers(1, 12), st.integers(0, 9))
def test_every_request_is_finished_or_refused_and_the_pool_is_never_passed(
    found: list[LengthBin], when: Arrivals, growth: Growth, size: int, slots: int, seed: int
) -> None:
    use = simulate(draw(lengths(found), when, count=40, seed=seed), pool(size, slots, growth), PACE, clients=when.clients)
    assert use.finished + use.refused == use.requests == 40
    assert use.p50_bytes <= use.p99_bytes <= use.peak_bytes <= size
    assert use.most_running <= min(slots, when.clients or slots)
    assert use.preempted <= use.preemptions


@given(bins, arrivals, st.integers(1, 400), st.integers(1, 12), st.integers(0, 9))
def test_the_same_seed_gives_the_same_answer(found: list[LengthBin], when: Arrivals, size: int, slots: int, seed: int) -> None:
    one, other = (simulate(draw(lengths(found), when, count=30, seed=seed), pool(size, slots), PACE) for _ in range(2))
    assert one == other


@given(bins, arrivals, st.integers(1, 400), st.integers(1, 12))
def test_cache_taken_at_the_start_is_never_taken_away(found: list[LengthBin], when: Arrivals, size: int, slots: int) -> None:
    assert simulate(draw(lengths(found), when, count=40), pool(size, slots, Growth.REQUEST), PACE).preemptions == 0


@given(bins, arrivals, st.integers(1, 12), st.integers(0, 9))
def test_a_pool_for_all_places_at_their_longest_puts_nobody_out(found: list[LengthBin], when: Arrivals, slots: int, seed: int) -> None:
    enough = slots * pages(max(1, lengths(found).longest_prompt_tokens) + max(1, lengths(found).longest_output_tokens))
    use = simulate(draw(lengths(found), when, count=40, seed=seed), pool(enough, slots), PACE)
    assert use.preemptions == use.refused == 0


@given(bins, arrivals, st.integers(1, 300), st.integers(0, 300), st.integers(1, 12))
def test_a_larger_pool_is_never_wanted_for_a_larger_share_of_the_time(
    found: list[LengthBin], when: Arrivals, size: int, more: int, slots: int
) -> None:
    """Preemptions themselves may rise with the pool, as it lets more begin; what is wanted of it, were memory no limit, cannot."""
    requests = draw(lengths(found), when, count=40)
    shares = [simulate(requests, pool(1 << 40, slots), PACE, watched_bytes=watched).share_over for watched in (size, size + more)]
    assert shares[1] <= shares[0]


def test_a_larger_pool_can_put_more_out() -> None:
    """Room for one lets one begin; room for two prompts, but not for both answers, puts one out."""
    requests = (Request(0.0, 60, 20), Request(0.0, 60, 20))
    assert simulate(requests, pool(5, 8), PACE).preemptions == 0
    assert simulate(requests, pool(8, 8), PACE).preemptions > 0
    assert simulate(requests, pool(10, 8), PACE).preemptions == 0


def test_a_request_alone_takes_the_time_of_its_prompt_and_its_steps() -> None:
    use = simulate((Request(0.0, 1000, 100),), pool(100, 1), PACE)
    assert abs(use.seconds - (1000 / 2000.0 + 100 * 0.05)) < 1e-9
    assert use.peak_bytes == pages(1100)


def test_arrivals_at_a_rate_come_at_that_rate() -> None:
    requests = draw(lengths([LengthBin(1, 1, 1)]), Arrivals(rate_per_s=4.0), count=4000, seed=3)
    assert abs(4000 / requests[-1].at_s - 4.0) < 0.3


def test_lengths_are_drawn_as_often_as_they_were_seen() -> None:
    requests = draw(lengths([LengthBin(10, 1, 1), LengthBin(20, 1, 3)]), Arrivals(), count=4000, seed=3)
    assert 0.7 < sum(one.prompt_tokens == 20 for one in requests) / 4000 < 0.8


def test_a_client_asks_when_its_answer_has_come() -> None:
    use = simulate(draw(lengths([LengthBin(100, 100, 1)]), Arrivals(), count=50), pool(1000, 8), PACE, clients=4)
    assert use.most_running == 4
    assert use.wait_p99_s < 1.0
