import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.errors import InputError
from ullage.units import GB, GiB, MiB, counted, format_bytes, format_gib, parse_bytes, parse_count


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("24GiB", 24 * GiB),
        ("80 GB", 80 * GB),
        ("1024", 1024),
        ("23.58GiB", int(23.58 * 100) * GiB // 100),
        ("1.5 MiB", 3 * MiB // 2),
        ("0", 0),
    ],
)
def test_a_size_means_what_its_unit_says(text: str, nbytes: int) -> None:
    assert parse_bytes(text) == nbytes


@pytest.mark.parametrize(("text", "tokens"), [("32k", 32_000), ("32K", 32_768), ("1m", 1_000_000), ("960000", 960_000), ("1.5k", 1_500)])
def test_a_small_letter_is_decimal_and_a_capital_binary(text: str, tokens: int) -> None:
    assert parse_count(text) == tokens


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "24 XB", "1e9", "nan", "٣GiB", "1" * 60, "24GiB extra"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_bytes(text)


@given(st.text(max_size=60))
def test_any_text_is_a_size_or_an_input_error(text: str) -> None:
    for parse in (parse_bytes, parse_count):
        with contextlib.suppress(InputError):
            assert parse(text) >= 0


@given(st.integers(0, 1 << 50))
def test_a_number_of_bytes_reads_as_itself(nbytes: int) -> None:
    assert parse_bytes(str(nbytes)) == nbytes


@given(st.integers(-(1 << 50), 1 << 50))
def test_a_written_size_is_within_a_hundredth_of_its_unit(nbytes: int) -> None:
    number, unit = format_bytes(nbytes).replace(",", "").split(" ")
    assert abs(float(number) * parse_bytes(f"1{unit}") - nbytes) <= parse_bytes(f"1{unit}") * 0.051


def test_a_column_of_gib_has_two_digits() -> None:
    assert format_gib(3 * GiB // 2) == "1.50"


@pytest.mark.parametrize(("count", "said"), [(0, "0 requests"), (1, "1 request"), (2000, "2,000 requests")])
def test_one_thing_is_said_in_the_singular(count: int, said: str) -> None:
    assert counted(count, "request") == said
