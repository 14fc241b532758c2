"""The outside world as the commands see it. ``world/`` builds the real one; tests build small ones of plain values."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from ullage.domain.hyperparameters import Json
from ullage.domain.machine import Device

if TYPE_CHECKING:
    from ullage.domain.baseline import Run, Trial

T = TypeVar("T")


class WeightFile(NamedTuple):
    """One file of weights: its name, its whole size, and how to get its first bytes. Reading raises WorldError."""

    name: str
    nbytes: int
    beginning: Callable[[int], bytes]


class ModelFolder(NamedTuple):
    """A model as it lies somewhere: small JSON files whole, weights as headers to be read. ``source`` is for people."""

    name: str
    source: str
    documents: Mapping[str, bytes]  # "config.json", "model.safetensors.index.json", ...
    weights: tuple[WeightFile, ...]
    path: str = ""  # what an engine on this machine would be told to load


class ModelFiles(Protocol):
    """Where models that are not bundled are found."""

    def local(self, word: str) -> ModelFolder | None:
        """The directory or file of that path; None when there is none. Raises WorldError and InputError."""

    def remote(self, word: str) -> ModelFolder:
        """The model of a Hub id. Raises WorldError, and InputError when the word is no id."""


class Hardware(Protocol):
    """What this machine has."""

    def devices(self) -> tuple[Device, ...]:
        """The accelerators that a driver answers for, in the driver's order; none when no driver answers."""

    def host(self) -> Device:
        """The memory of the host, or of the container that holds this process. Raises WorldError."""


class Desk(Protocol):
    """Where answers are put down."""

    def write(self, path: str, text: str) -> None:
        """Write a whole file or nothing. Raises WorldError."""


class Store(Protocol):
    """What this machine remembers. Every method raises WorldError where the store cannot be read or written."""

    def runs(self, *, engine: str = "", prefix: str = "", most: int = -1) -> "tuple[Run, ...]":
        """Stored runs, the newest first: of one engine, whose id begins so, at most so many. None where nothing was ever stored."""

    def append(self, run: "Run") -> None:
        """Store a run, or a newer state of one, in one transaction. Secrets are left out."""

    def add(self, runs: "tuple[Run, ...]") -> int:
        """Store those of these that are not there yet, all or none; returns how many were new."""

    def delete(self, run_id: str) -> bool:
        """Forget one run; False where there was none of that id."""

    def new_id(self) -> str:
        """An identity for a run or a study that nobody has yet; it sorts by time."""

    def append_trial(self, trial: "Trial") -> None:
        """Write one step of a tuning's journal, or a newer state of it."""

    def trials_of(self, study: str) -> "tuple[Trial, ...]":
        """A tuning's journal, in order."""

    def as_export(self, runs: "tuple[Run, ...]") -> str:
        """Runs as the text of a file that ``read_export`` reads."""

    def read_export(self, path: str) -> "tuple[Run, ...]":
        """The runs of an exported file. Raises MalformedFileError too."""


class Record(NamedTuple):
    """One record of a data set: its number and line from 1 (line 0: the format has none), its value, and how it stands in the file.

    ``why`` is not empty for one that could not be read.
    """

    number: int
    line: int
    value: Json
    text: str = ""
    why: str = ""


class RecordWriter(Protocol):
    """A file of records in the making; it is there under its name when it is closed, and not before."""

    def write(self, record: Record, *, dropped: str = "") -> None:
        """Add a record: as it stood where it has its text, with the reason for which it was dropped where there is one."""

    def close(self) -> None:
        """Put the file in its place. Raises WorldError."""


class DataSet(NamedTuple):
    """A file of records, read as it is asked for. ``format``: "json", "jsonl", "text" or "parquet"; ``rule`` says how it is divided."""

    format: str
    nbytes: int
    rule: str
    records: Callable[[], Iterator[Record]]
    writer: Callable[[str], RecordWriter]  # of a file in the same format


class Counter(Protocol):
    """Something that says how many tokens a text has."""

    @property
    def name(self) -> str:
        """What counts, for people."""

    @property
    def is_exact(self) -> bool:
        """False for an estimate."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has."""

    def count_batches(self, batches: Iterable[tuple[T, list[str]]]) -> Iterator[tuple[T, list[int]]]:
        """The same for many lists of texts, in order and on several cores; few are held at a time."""

    def boundaries(self, text: str) -> Sequence[int]:
        """Where the text may be cut, as character offsets from 0 to its length: between two tokens and between two characters."""


class DataSets(Protocol):
    """Files of requests, and what counts them."""

    def open(self, path: str) -> DataSet | None:
        """The file at ``path``, its format recognised by its first bytes; None when there is none. Raises WorldError and InputError."""

    def counter(self, word: str | None, model: str | None, *, nbytes: int) -> Counter:
        """What ``--tokenizer`` names, else the model's own tokeniser where it is at hand, else an estimate. Raises every error."""


class World(NamedTuple):
    """Everything outside, as one value."""

    models: ModelFiles
    hardware: Hardware
    desk: Desk
    store: Store
    data: DataSets
