"""Placing a row of units on a row of devices: nothing is lost, and the balanced placement is never worse than filling."""

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from ullage.formulas.placement import Load, balanced, excess, fill, imbalance, left_over, proportional

sizes = st.lists(st.integers(0, 1000), min_size=1, max_size=25)
caps = st.lists(st.integers(0, 6000), min_size=1, max_size=5)


def load_of(units: list[int], fixed: int) -> Load:
    """Bytes of a run, the largest unit once more as scratch, and what every device has anyway."""
    sums = [0, *accumulate(units)]
    return lambda _device, first, end: fixed + sums[end] - sums[first] + max(units[first:end], default=0)


@given(sizes, caps, st.integers(0, 300))
def test_every_layer_lies_on_exactly_one_device(units: list[int], caps: list[int], fixed: int) -> None:
    spans = balanced(len(units), caps, load_of(units, fixed))
    placed = [unit for first, end in spans for unit in range(first, end)]
    assert placed == list(range(len(units)))
    assert len(spans) == len(caps)


@given(sizes, caps, st.integers(0, 300))
def test_filling_loses_no_layer_and_respects_every_cap(units: list[int], caps: list[int], fixed: int) -> None:
    load = load_of(units, fixed)
    spans = fill(len(units), caps, load)
    placed = [unit for first, end in spans for unit in range(first, end)]
    assert placed == list(range(len(units) - left_over(len(units), spans)))
    assert all(load(device, *span) <= caps[device] for device, span in enumerate(spans) if span[1] > span[0])


@given(sizes, caps, st.integers(0, 300))
def test_the_balanced_placement_is_never_worse_than_filling(units: list[int], caps: list[int], fixed: int) -> None:
    load = load_of(units, fixed)
    filled = fill(len(units), caps, load)
    if not left_over(len(units), filled):
        assert excess(balanced(len(units), caps, load), caps, load) <= excess(filled, caps, load)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=7), st.lists(st.integers(0, 200), min_size=2, max_size=3))
def test_no_other_placement_leaves_the_worst_device_more(units: list[int], caps: list[int]) -> None:
    load, count = load_of(units, 0), len(units)
    cuts = [(a, b) for a in range(count + 1) for b in range(a, count + 1)] if len(caps) == 3 else [(a, count) for a in range(count + 1)]
    every = [((0, a), (a, b), (b, count))[: len(caps)] for a, b in cuts]
    assert excess(balanced(count, caps, load), caps, load) == min(excess(spans, caps, load) for spans in every)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 100), min_size=1, max_size=6))
def test_parts_in_proportion_add_up_to_the_whole(whole: int, weights: list[int]) -> None:
    parts = proportional(whole, weights)
    assert sum(parts) == whole
    assert min(parts) >= 0


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=8))
def test_only_devices_alike_are_in_balance(loads: list[int]) -> None:
    assert imbalance(loads) >= 0 or abs(imbalance(loads)) < 1e-9
    assert imbalance([7] * len(loads)) == 0
