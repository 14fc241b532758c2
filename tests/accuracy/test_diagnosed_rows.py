"""Of the failing reports: the right class, the right term, and the thread's own fix among our first three changes."""

import pytest
from tests.accuracy.diagnosed_rows import Judged, judged_fragments, judged_wholes, share


def least(judged: tuple[Judged, ...], class_share: float, term_share: float, fix_share: float) -> None:
    right, told = share(one.is_class_right for one in judged)
    assert right / told >= class_share, f"class {right} of {told}"
    right, told = share(one.is_term_right for one in judged)
    assert right / told >= term_share, f"term {right} of {told}"
    right, told = share(one.is_fix_among_three for one in judged)
    assert right / told >= fix_share, f"fix {right} of {told}"


def test_whole_logs_are_diagnosed() -> None:
    assert len(judged_wholes()) >= 85
    least(judged_wholes(), 0.95, 0.95, 0.90)


def test_the_quoted_words_alone_are_mostly_enough() -> None:
    """Fragments, without what the engine said before: half of them are people's own words, not a log."""
    least(judged_fragments(), 0.90, 0.85, 0.75)


@pytest.mark.parametrize("judged", [judged_wholes, judged_fragments])
def test_no_cause_is_without_evidence(judged: object) -> None:
    assert callable(judged)
    for one in judged():
        assert all(cause.evidence for cause in one.found.causes)
