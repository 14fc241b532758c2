"""Reading numbers and strings from the beginning of a file whose rest is not at hand."""

import struct

from ullage.errors import MalformedFileError

LONGEST_HEADER = 1 << 28  # tokenizers take some 10 MB; nothing true comes near this


class TooShortError(Exception):
    """The bytes at hand end before the header does; ``needed`` is the least length that gets further."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


class Cursor:
    """A position in ``data``, the first bytes of a file of ``file_size`` bytes."""

    def __init__(self, data: bytes, file_size: int, *, order: str = "<", position: int = 0) -> None:
        self._data = data
        self._file_size = file_size
        self._order = order
        self.position = position

    def claim(self, nbytes: int, what: str) -> None:
        """Check that the file could hold ``nbytes`` more. Raises MalformedFileError before anything is allocated."""
        end = self.position + nbytes
        if end > self._file_size or end > LONGEST_HEADER:
            limit = min(self._file_size, LONGEST_HEADER)
            raise MalformedFileError(f"{what} at offset {self.position} needs {nbytes} bytes; the header cannot pass {limit}")

    def _end(self, nbytes: int, what: str) -> int:
        self.claim(nbytes, what)
        end = self.position + nbytes
        if end > len(self._data):
            raise TooShortError(end)
        return end

    def number(self, code: str, what: str) -> int | float | bool:
        """One number by its ``struct`` letter."""
        end = self._end(struct.calcsize("=" + code), what)
        value: int | float | bool = struct.unpack_from(self._order + code, self._data, self.position)[0]
        self.position = end
        return value

    def integer(self, code: str, what: str) -> int:
        """One whole number by its ``struct`` letter."""
        return int(self.number(code, what))

    def numbers(self, code: str, count: int, what: str) -> list[int | float | bool]:
        """``count`` numbers alike."""
        end = self._end(count * struct.calcsize("=" + code), what)
        values = list(struct.unpack_from(f"{self._order}{count}{code}", self._data, self.position))
        self.position = end
        return values

    def skip(self, nbytes: int, what: str) -> None:
        """Pass over ``nbytes`` bytes, which need to be at hand."""
        self.position = self._end(nbytes, what)

    def text(self, what: str, *, strict: bool = True) -> str:
        """A string with eight bytes of length before it."""
        nbytes = self.integer("Q", what)
        end = self._end(nbytes, what)
        try:
            value = self._data[self.position : end].decode("utf-8", "strict" if strict else "replace")
        except UnicodeDecodeError as error:
            raise MalformedFileError(f"{what} at offset {self.position} is not UTF-8") from error
        self.position = end
        return value

    def skip_texts(self, count: int, what: str) -> None:
        """Pass over ``count`` strings quickly: a tokenizer has some hundred thousand."""
        self.claim(8 * count, what)
        unpack, data, position = struct.Struct(self._order + "Q").unpack_from, self._data, self.position
        last = len(data) - 8
        for done in range(count):
            if position > last:
                self._ask_for_rest(position, done, count, what)
            position += 8 + unpack(data, position)[0]
        self.position = position
        self.claim(0, what)

    def _ask_for_rest(self, position: int, done: int, count: int, what: str) -> None:
        """The strings still to come are taken to be as long as those seen."""
        start, self.position = self.position, position
        self.claim(8 * (count - done), what)
        likely = position + (count - done) * (position - start) // max(done, 1)
        raise TooShortError(max(position + 8 * (count - done), min(likely, self._file_size, LONGEST_HEADER)))
