"""Laws of the caching allocator."""

from hypothesis import given
from hypothesis import strategies as st

from ullage.formulas.allocator import SMALL, STEP, allocated_bytes, cublas_workspace, pooled_bytes
from ullage.units import MiB

requests = st.lists(st.tuples(st.integers(1, 64 * MiB), st.integers(1, 4)), max_size=12)


@given(requests)
def test_blocks_hold_what_was_asked_for_and_waste_less_than_a_mebibyte_each(asked: list[tuple[int, int]]) -> None:
    total = sum(nbytes * count for nbytes, count in asked)
    tensors = sum(count for _, count in asked)
    assert total <= allocated_bytes(asked) <= total + tensors * (SMALL + STEP)


@given(requests)
def test_one_block_cut_exactly_never_counts_more(asked: list[tuple[int, int]]) -> None:
    assert pooled_bytes(asked) <= allocated_bytes(asked)


def test_a_tensor_of_43_mebibytes_counts_as_44() -> None:
    assert allocated_bytes([(43 * MiB, 1)]) == 44 * MiB


def test_two_tensors_of_8_mebibytes_share_a_segment() -> None:
    assert allocated_bytes([(8 * MiB, 2)]) == 16 * MiB


def test_the_matrix_workspace_grew_with_hopper() -> None:
    assert cublas_workspace((8, 0)) == cublas_workspace(None) == 8_519_680
    assert cublas_workspace((9, 0)) == 32 * MiB
