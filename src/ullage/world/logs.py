"""Logs as lines: a file or standard input, plain or packed, in a bounded space whatever its size."""

import codecs
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from ullage.errors import InputError, WorldError
from ullage.units import counted
from ullage.world._letters import LOOKED_AT, is_text

if TYPE_CHECKING:
    import bz2
    import gzip
    import lzma

LONGEST = 1 << 16  # letters of one line that are read; of a longer one the end is kept too
_TAIL = 1 << 13
_BLOCK = 1 << 16
_HEAD = 64
_MAGIC: Final = ((b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\xfd7zXZ\x00", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))
_WIDE: Final = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def lines(word: str) -> Iterator[str]:
    """The lines of a file, or of standard input for ``-``. Raises WorldError and InputError before the first one."""
    if word == "-":
        return _checked(_unpacked(_buffered(sys.stdin.buffer), "standard input"), "standard input")
    path = Path(word).expanduser()
    try:
        if path.is_dir():
            raise InputError(f"{path} is a directory: give one log file, or - for standard input")
        file = path.open("rb")
    except OSError as error:
        raise WorldError(f"{path} cannot be read: {error.strerror or error}; give a log file, or - for standard input") from error
    return _checked(_unpacked(_buffered(file), str(path)), str(path))


def process(pid: int) -> tuple[tuple[str, ...], Iterator[str]]:
    """The command of a process, and what it wrote where that goes to a file. Raises WorldError for one that is not there."""
    place = Path("/proc") / str(pid)
    try:
        words = place.joinpath("cmdline").read_bytes().split(b"\0")
    except OSError as error:
        raise WorldError(f"there is no process {pid} whose command can be read: {error.strerror or error}") from error
    argv = tuple(word.decode("utf-8", "replace") for word in words if word)
    for number in ("2", "1"):
        try:
            target = place.joinpath("fd", number).readlink()
            if target.is_file():
                return argv, lines(str(target))
        except OSError:  # another user's, or gone
            continue
    return argv, iter(())


class _Gently(io.RawIOBase):
    """What a packed file gives piece by piece, so that of one that was cut off all before the cut is read."""

    def __init__(self, packed: "gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile") -> None:
        self._packed = packed

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """As many bytes as one step of unpacking gives. Raises what unpacking raises."""
        piece = self._packed.read1(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def _buffered(file: IO[bytes]) -> IO[bytes]:
    return file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)  # type: ignore[type-var]


def _unpacked(file: IO[bytes], name: str) -> IO[bytes]:
    """The plain bytes of what a file's first bytes say it is packed as."""
    head = file.peek(8)[:8]  # type: ignore[attr-defined]
    kind = next((kind for magic, kind in _MAGIC if head.startswith(magic)), "")
    match kind:
        case "gzip":
            import gzip

            return io.BufferedReader(_Gently(gzip.GzipFile(fileobj=file)))
        case "bz2":
            import bz2

            return io.BufferedReader(_Gently(bz2.BZ2File(file)))
        case "xz":
            import lzma

            return io.BufferedReader(_Gently(lzma.LZMAFile(file)))
        case "zstd":
            return _zstd(file, name)
        case _:
            return file


def _zstd(file: IO[bytes], name: str) -> IO[bytes]:
    try:
        from compression import zstd  # type: ignore[import-not-found] # Python 3.14
    except ModuleNotFoundError as error:
        what = f"{name} is packed with zstd, which Python reads from 3.14 on: unpack it first, zstd -dc {name} | ullage diagnose -"
        raise WorldError(what) from error
    return io.BufferedReader(_Gently(zstd.ZstdFile(file)))


def _checked(file: IO[bytes], name: str) -> Iterator[str]:
    """The lines, of a file that was cut off in the middle those before the cut; that it was is said on standard error."""
    import zlib
    from lzma import LZMAError

    count, rest = 0, ""
    try:
        decoder = codecs.getincrementaldecoder(_encoding(file, name))("replace")
        with file:
            while piece := file.read1(_BLOCK):  # type: ignore[attr-defined]
                found = io.StringIO(rest + decoder.decode(piece), newline="\n").readlines()
                rest = _bounded(found.pop()) if found and not found[-1].endswith("\n") else ""
                if found:
                    found[0] = _bounded(found[0])  # the others are no longer than a block
                    count += len(found)
                    yield from found
        rest += decoder.decode(b"", final=True)
    except (OSError, EOFError, zlib.error, LZMAError) as error:
        if not count:
            raise WorldError(f"{name} cannot be read: {error}; unpack it, and give what there is") from error
        yield from (rest,) if rest else ()
        count += bool(rest)
        sys.stderr.write(f"ullage: {name} ends in the middle: the {counted(count, 'line')} before that are read ({error})\n")
        return
    yield from (rest,) if rest else ()


def _encoding(file: IO[bytes], name: str) -> str:
    """How the text is written, by its first bytes. Raises InputError for what is no text."""
    if not isinstance(file, io.BufferedReader):
        return "utf-8"
    head = file.peek(2)[:2]
    wide = next((encoding for magic, encoding in _WIDE if head.startswith(magic)), "")
    zeros = b"\0" in file.peek(_HEAD)[:_HEAD].lstrip(b"\0")  # a log that was emptied while it was written begins with them
    if not wide and (zeros or not is_text(file.peek(LOOKED_AT))):
        raise InputError(f"{name} is no text: give the log that the engine wrote")
    return wide or "utf-8"


def _bounded(line: str) -> str:
    """A line's beginning and, where it is longer than is read, its end."""
    return line if len(line) <= LONGEST + _TAIL else line[:LONGEST] + line[-_TAIL:]
