"""Files of requests, read a piece at a time: JSON, JSON lines, tables, plain text, Parquet; all but the last also compressed with gzip."""

import csv
import gzip
import io
from collections.abc import Callable, Iterator
from functools import partial
from math import isfinite
from pathlib import Path
from typing import IO, TextIO

from ullage import wire
from ullage.errors import InputError, MalformedFileError, WorldError, step_after
from ullage.ports import DataSet, Record
from ullage.world import record_writers
from ullage.world._json_records import LONGEST_RECORD, bounded_lines, line_records, whole_records
from ullage.world._letters import is_text
from ullage.world.progress import Progress

_LOOKED_AT = 1 << 18  # bytes by which a format is recognised
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"


def open_data(path: str) -> DataSet | None:
    """As the port says."""
    place = Path(path).expanduser()
    try:
        if not place.exists():
            return None
        if not place.is_file():
            raise InputError(f"{path} is no regular file: give a .json, .jsonl, .txt or .parquet file")
        nbytes = place.stat().st_size
        with place.open("rb") as file:
            first = file.read(4)
        beginning = "" if first == _PARQUET else _beginning(place)
    except (OSError, EOFError) as error:
        raise WorldError(f"{path} cannot be read: {error}; {step_after(error)}") from error
    if first == _PARQUET:
        from ullage.world import _parquet

        return DataSet("parquet", nbytes, "one record a row", partial(_parquet.records, place), partial(_parquet.writer, place))
    if not is_text(beginning.encode("utf-8", "surrogateescape")):
        raise InputError(f"{path} is no text: give a .json, .jsonl, .txt or .parquet file")
    if not beginning.strip():
        raise InputError(f"{path} is empty: give a file with at least one request")
    return _text_data(place, nbytes, beginning)


def place(path: str) -> str:
    """The path from the root, with links followed; as it is where the system takes none of it."""
    try:
        return str(Path(path).expanduser().resolve())
    except (OSError, RuntimeError, ValueError):
        return path


def _text_data(place: Path, nbytes: int, beginning: str) -> DataSet:
    kind, rule, read = _recognise(beginning)
    return DataSet(kind, nbytes, rule, partial(_records, place, nbytes, read), partial(record_writers.open_writer, kind))


def _recognise(beginning: str) -> tuple[str, str, Callable[[TextIO], Iterator[Record]]]:
    """The format, how it is divided into records, and what reads them, by the beginning of the file."""
    start = beginning.lstrip("\ufeff \t\r\n")
    if start[:1] == "[" and start[1:].lstrip()[:1] in ("{", "[", '"', "]", ""):
        return "json", "one record an element of the array", partial(whole_records, is_array=True)
    if start[:1] == "{":
        line, newline, _ = start.partition("\n")
        if (
            newline
            and not _is_json(line)
            and line.strip() in ("{", line.strip().rstrip(","))
            and len(line.strip()) < LONGEST_RECORD
            and _is_laid_out(start)
        ):
            return "jsonl", "one record an object", partial(whole_records, is_array=False)
        return "jsonl", "one record a line", line_records
    if _is_table(start):
        return "jsonl", "one record a row of the table", _rows
    if _has_paragraphs(start):
        return "text", "one prompt a paragraph, as the file has empty lines", _paragraphs
    return "text", "one prompt a line", _lines


def _is_json(line: str) -> bool:
    try:
        wire.loads(line)
    except MalformedFileError:
        return False
    return True


def _is_laid_out(start: str) -> bool:
    """Whether the first object goes on over several lines."""
    try:
        _, end = wire.scan(start, 0)
    except wire.CutShortError:
        return "\n" in start.rstrip("\n") and not start.partition("\n")[2].lstrip().startswith("{")
    except MalformedFileError:
        return False
    return "\n" in start[:end]


def _is_table(start: str) -> bool:
    """Whether the first line names columns of which the second has a value each, two of them numbers or more."""
    head, row, *_ = (next(csv.reader([line]), []) for line in (*start.split("\n")[:2], "", ""))
    names = [name.strip() for name in head]
    is_head = len(set(names)) == len(names) and all(name and not isinstance(_cell(name), int | float) for name in names)
    return is_head and len(row) == len(head) and sum(isinstance(_cell(cell), int | float) for cell in row) > 1


def _cell(text: str) -> int | float | str:
    text = text.strip()
    try:
        number = int(text) if text.isascii() and text.isdecimal() else float(text)
    except ValueError:
        return text
    return number if isfinite(number) else text


def _rows(file: TextIO) -> Iterator[Record]:
    names, number = list[str](), 0
    for line, text in enumerate(bounded_lines(file), 1):
        cells = next(csv.reader([text.strip("\ufeff\r\n").replace("\0", "")]), [])
        if not cells:
            continue
        if not names:
            names = [name.strip() for name in cells]
            continue
        number += 1
        if len(cells) != len(names):
            yield Record(number, line, None, why=f"the row has {len(cells)} values for {len(names)} columns")
            continue
        yield Record(number, line, {name: _cell(cell) for name, cell in zip(names, cells, strict=True)})


def _has_paragraphs(text: str) -> bool:
    lines = [bool(line.strip()) for line in text.strip().split("\n")]
    return not all(lines)


def _open(place: Path) -> tuple[IO[bytes], TextIO]:
    """The file, whose position says how far reading has come, and its text; what is no UTF-8 is kept to be written again as it was."""
    raw = place.open("rb")
    is_packed = raw.read(2) == _GZIP
    raw.seek(0)
    data: IO[bytes] = gzip.GzipFile(fileobj=raw) if is_packed else raw  # type: ignore[assignment] # it reads as a file does
    return raw, io.TextIOWrapper(data, encoding="utf-8", errors="surrogateescape", newline="\n")


def _beginning(place: Path) -> str:
    raw, text = _open(place)
    with raw:
        return text.read(_LOOKED_AT)


def _records(place: Path, nbytes: int, read: Callable[[TextIO], Iterator[Record]]) -> Iterator[Record]:
    progress = Progress(f"reading {place.name}", nbytes)
    raw, text = _open(place)
    with raw:
        try:
            for record in read(text):
                progress.at(raw.tell())
                yield record
        except (OSError, EOFError) as error:
            raise WorldError(f"{place} cannot be read further: {error}; the file seems to be cut off") from error
        finally:
            progress.end()


def _lines(file: TextIO) -> Iterator[Record]:
    number = 0
    for line, text in enumerate(bounded_lines(file), 1):
        if text.strip("\ufeff \t\r\n"):
            number += 1
            yield Record(number, line, text.strip("\ufeff\r\n"))


def _paragraphs(file: TextIO) -> Iterator[Record]:
    number, begun, held, size = 0, 0, list[str](), 0
    for line, text in enumerate(bounded_lines(file), 1):
        if text.strip("\ufeff \t\r\n") and size < LONGEST_RECORD:
            begun = begun if held else line
            held.append(text)
            size += len(text)
        elif held:
            number += 1
            yield Record(number, begun, "".join(held).strip("\ufeff\r\n"))
            held, size = [], 0
    if held:
        yield Record(number + 1, begun, "".join(held).strip("\ufeff\r\n"))
