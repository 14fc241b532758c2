"""Logs from files that are not whole."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from ullage.errors import WorldError
from ullage.world import logs

LINES = tuple(f"INFO 01-14 12:00:{number % 60:02d} [core.py:{number * 7919 % 1000}] step {number * 104729}\n" for number in range(30_000))
PACKED: tuple[Callable[[bytes], bytes], ...] = (gzip.compress, lzma.compress, bz2.compress)


@pytest.mark.parametrize("packed", PACKED)
def test_of_a_packed_log_that_was_cut_off_what_stands_before_the_cut_is_read_and_the_cut_is_said(
    packed: Callable[[bytes], bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = packed("".join(LINES).encode())
    (tmp_path / "whole").write_bytes(whole)
    assert tuple(logs.lines(str(tmp_path / "whole"))) == LINES
    (tmp_path / "cut").write_bytes(whole[: len(whole) * 9 // 10])
    read = tuple(logs.lines(str(tmp_path / "cut")))
    assert len(LINES) // 2 < len(read) < len(LINES)
    assert read[:-1] == LINES[: len(read) - 1]
    assert f"ends in the middle: the {len(read):,} lines before that are read" in capsys.readouterr().err


def test_a_few_bytes_of_a_packed_log_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    (tmp_path / "cut.gz").write_bytes(gzip.compress("".join(LINES).encode())[:300])
    assert "".join(logs.lines(str(tmp_path / "cut.gz"))).startswith("INFO 01-14")


@pytest.mark.parametrize("packed", PACKED)
def test_a_packed_log_of_which_nothing_can_be_read_is_refused_in_a_sentence(packed: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(packed(LINES[0].encode() * 9)[:12])
    with pytest.raises(WorldError, match="cannot be read"):
        tuple(logs.lines(str(tmp_path / "cut")))
