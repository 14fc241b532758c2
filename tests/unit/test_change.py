"""Values of settings as people read them."""

import pytest
from tests.runs import stored_run

from ullage.domain.case import Settings, Value
from ullage.planning.change import shown
from ullage.report.baselines_document import run_document


@pytest.mark.parametrize(
    ("value", "text"),
    [(21666554265, "21666554265 (20.18 GiB)"), (131072, "131072"), (1 << 23, "8388608"), (True, "True"), ("int8", "int8"), (0.9, "0.9")],
)
def test_a_number_that_can_only_be_bytes_is_told_as_such_too(value: Value, text: str) -> None:
    assert shown(value) == text


def test_a_stored_run_tells_its_sizes_as_people_read_them() -> None:
    assert "memory = 21666554265 (20.18 GiB)" in str(run_document(stored_run(settings=Settings.of({"memory": 21666554265}))))
