"""Single rows are attended to in few calls, whatever the calls each sees its own keys and no others."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from ullage.runtime.attend.lanes import Lane, Run, grouped
from ullage.runtime.attend.segments import Segment

SLOTS = 400
CPU = torch.device("cpu")

runs = st.lists(st.tuples(st.integers(0, SLOTS - 61), st.integers(1, 60)), min_size=1, max_size=3).map(tuple)
even = st.tuples(st.integers(0, 40), st.sampled_from((40, 80)), st.lists(st.integers(1, 40), min_size=1, max_size=4), st.booleans())


def lane(row: int, own: tuple[Run, ...], sharpness: float = 1.0) -> Lane:
    tokens = sum(count for _, count in own)
    return Lane(row, tokens - 1, ((Segment(0, tokens), own),), sharpness)


def seen(lanes: list[Lane]) -> dict[int, list[int]]:
    """The slots each row meets, over all calls."""
    together, alone = grouped(lanes, SLOTS, CPU)
    found = {one.row: [slot + at for _, own in one.segments for slot, count in own for at in range(count)] for one in alone}
    for part in together:
        rows = list(range(part.rows.start, part.rows.stop)) if isinstance(part.rows, slice) else part.rows.tolist()
        assert len(rows) == part.lanes > 1
        assert part.first + (part.lanes - 1) * part.apart + part.longest <= SLOTS
        for index, row in enumerate(rows):
            assert row not in found
            visible = [True] * part.longest if part.hidden is None else (part.hidden[index, 0, 0] == 0).tolist()
            own = [part.first + index * part.apart + at for at in range(part.longest) if visible[at]]
            found[row] = [slot + at for slot, count in part.shared for at in range(count)] + own
    return found


@given(st.lists(runs, max_size=8), st.lists(even, max_size=3))
def test_every_row_meets_its_own_slots_once(single: list[tuple[Run, ...]], spaced: list[tuple[int, int, list[int], bool]]) -> None:
    all_runs: list[tuple[Run, ...]] = list(single)
    for first, apart, counts, share in spaced:
        shared = ((5, 30),) if share else ()
        all_runs += [
            (*shared, (first + index * apart, count)) for index, count in enumerate(counts) if first + index * apart + count <= SLOTS
        ]
    lanes = [lane(row, own) for row, own in enumerate(all_runs)]
    expected = {one.row: [slot + at for slot, count in one.segments[0][1] for at in range(count)] for one in lanes}
    assert {row: sorted(slots) for row, slots in seen(lanes).items()} == {row: sorted(slots) for row, slots in expected.items()}


def test_sequences_in_lanes_are_one_call() -> None:
    together, alone = grouped([lane(row, ((row * 100, 50 + row),)) for row in range(4)], SLOTS, CPU)
    assert (len(together), alone) == (1, ())
    assert together[0].hidden is not None


def test_who_wrote_the_beginning_and_who_shares_it_are_one_call() -> None:
    writer = lane(0, ((0, 50),))
    together, alone = grouped([writer, *(lane(row, ((0, 32), (row * 100 + 32, 20))) for row in (1, 2, 3))], SLOTS, CPU)
    assert (len(together), alone) == (1, ())
    assert together[0].shared == ((0, 32),)
    assert (together[0].first, together[0].apart, together[0].lanes) == (32, 100, 4)


def test_the_longest_of_a_call_ends_inside_the_arena() -> None:
    together, alone = grouped([lane(row, ((250 + row * 60, 60 - 15 * (row == 2)),)) for row in range(3)], SLOTS, CPU)
    assert [part.lanes for part in together] == [2]
    assert [one.row for one in alone] == [2]


def test_tokens_of_one_sequence_that_are_computed_again_are_one_call() -> None:
    lanes = [lane(row, ((40, 30 + row),)) for row in range(5)]
    together, alone = grouped(lanes, SLOTS, CPU)
    assert (len(together), together[0].apart, alone) == (1, 0, ())
    assert seen(lanes)[3] == list(range(40, 73))


def test_a_short_and_a_long_sequence_are_not_padded_to_one_another() -> None:
    together, alone = grouped([lane(0, ((0, 10),)), lane(1, ((100, 90),))], SLOTS, CPU)
    assert (together, len(alone)) == ((), 2)


def test_lanes_of_different_sharpness_stay_together_each_with_its_own() -> None:
    ((part,), _) = grouped([lane(0, ((0, 10),), 1.0), lane(1, ((100, 10),), 1.5)], SLOTS, CPU)
    assert part.sharpness is not None
    assert part.sharpness.flatten().tolist() == [1.0, 1.5]
