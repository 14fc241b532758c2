"""Rows of a Parquet file as records, a few hundred at a time, and rows written again under the same schema."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ullage.errors import MalformedFileError, WorldError
from ullage.ports import Record, RecordWriter
from ullage.text._optional import library
from ullage.world.progress import Progress
from ullage.world.record_writers import Beside

_ROWS = 256
_ANSWER = "output_tokens"  # of a record that was rewritten without its answer


def _pyarrow(part: str) -> Any:
    return library(f"pyarrow{part}", "a Parquet file", "pip install 'ullage[workload]'")


@contextmanager
def _reading(place: Path) -> Iterator[None]:
    try:
        yield
    except (_pyarrow("").ArrowException, OSError) as error:
        raise MalformedFileError(f"{place} is no Parquet file that can be read: {str(error)[:200]}") from error


def records(place: Path) -> Iterator[Record]:
    """Every row, with all its columns."""
    parquet = _pyarrow(".parquet")
    with _reading(place), parquet.ParquetFile(place) as file:
        total, number = file.metadata.num_rows, 0
        progress = Progress(f"reading {place.name}", total)
        for batch in file.iter_batches(batch_size=_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield Record(number, 0, row)
            progress.at(number)
        progress.end()


def writer(place: Path, path: str) -> RecordWriter:
    """A writer of rows like those of the file at ``place``."""
    with _reading(place):
        schema = _pyarrow(".parquet").read_schema(place)
    return _Writer(schema, Beside(path))


class _Writer:
    def __init__(self, schema: Any, beside: Beside) -> None:
        self._arrow, self._parquet, self._beside = _pyarrow(""), _pyarrow(".parquet"), beside
        self._schema, self._rows = schema, list[Any]()
        self._file: Any = None

    def write(self, record: Record, *, dropped: str = "") -> None:
        """As the port says; the reason is a column more."""
        if dropped and "dropped" not in self._schema.names:
            self._schema = self._schema.append(self._arrow.field("dropped", self._arrow.string()))
        row = record.value if isinstance(record.value, dict) else {}
        if _ANSWER in row and _ANSWER not in self._schema.names:
            self._widen()
        self._rows.append({**row, "dropped": dropped} if dropped else row)
        if len(self._rows) >= _ROWS:
            self._flush()

    def close(self) -> None:
        """As the port says."""
        self._flush()
        self._file.close()
        self._beside.put()

    def _widen(self) -> None:
        """A column more for the length of the answer, empty in the rows that are written already."""
        self._flush()
        narrow = Path(f"{self._beside.path}.narrow")
        self._file.close()
        Path(self._beside.path).replace(narrow)
        self._schema = self._schema.append(self._arrow.field(_ANSWER, self._arrow.int64()))
        self._file = self._parquet.ParquetWriter(self._beside.path, self._schema)
        with self._parquet.ParquetFile(narrow) as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                self._rows = batch.to_pylist()
                self._flush()
        narrow.unlink()

    def _flush(self) -> None:
        try:
            if self._file is None:
                self._file = self._parquet.ParquetWriter(self._beside.path, self._schema)
            self._file.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        except OSError as error:
            raise self._beside.failed(error) from error
        except self._arrow.ArrowException as error:
            raise WorldError(f"a row cannot be written in the schema of its file: {str(error)[:200]}") from error
        self._rows = []
