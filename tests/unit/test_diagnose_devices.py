"""Which of a machine's devices a log speaks of, however engines name them."""

import pytest

import ullage
from ullage.planning.diagnose_facts import card_of

FULL = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU {number} has a total capacity of 79.25 GiB "
    "of which 1.12 GiB is free. Process 7 has 78.12 GiB memory in use."
)


@pytest.mark.parametrize(
    ("said", "ours"), [("3", "gpu3"), ("CUDA0", "gpu0"), ("cuda:11", "gpu11"), ("ROCm12", "gpu12"), ("Host", "Host"), ("", "")]
)
def test_a_number_or_a_backends_word_with_one_is_a_card(said: str, ours: str) -> None:
    assert card_of(said) == ours


def test_the_budget_is_of_the_card_that_failed_above_nine_too() -> None:
    budget = ullage.diagnose(FULL.format(number=11)).budget
    assert budget is not None
    assert budget.device == "gpu11"
