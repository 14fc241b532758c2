"""Logs from files that are not whole."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from importlib.util import find_spec
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


def zstandard(text: bytes) -> bytes:
    """One frame of one block that is kept as it is, by RFC 8878."""
    return b"\x28\xb5\x2f\xfd\x20" + bytes([len(text)]) + (1 | len(text) << 3).to_bytes(3, "little") + text


def test_a_log_packed_with_zstd_is_read_or_what_it_takes_is_said(tmp_path: Path) -> None:
    (tmp_path / "log.zst").write_bytes(zstandard(LINES[0].encode()))
    if find_spec("compression") is not None:  # from Python 3.14 on
        assert tuple(logs.lines(str(tmp_path / "log.zst"))) == LINES[:1]
        return
    with pytest.raises(WorldError, match=r"from 3\.14 on: unpack it first, zstd -dc .*log\.zst \| ullage diagnose -"):
        logs.lines(str(tmp_path / "log.zst"))


@pytest.mark.parametrize("end", ["\n", ""])
def test_lines_are_the_same_wherever_blocks_of_the_file_end(end: str, tmp_path: Path) -> None:
    said = "\u00e9\u6f22\r\u2028"
    lines = [f"{number} {said * (number % 7)}\n" for number in range(9_000)] + ["x" * 200_000 + "\n", "y" * 70_000 + end]
    (tmp_path / "log").write_text("".join(lines), encoding="utf-8", newline="")
    (tmp_path / "wide").write_text("".join(lines), encoding="utf-16", newline="")
    read, wide = list(logs.lines(str(tmp_path / "log"))), list(logs.lines(str(tmp_path / "wide")))
    assert read == wide
    assert read[:-2] == lines[:-2]
    assert read[-1] == lines[-1]
    assert read[-2] == "x" * (logs.LONGEST + logs._TAIL - 1) + "\n"
