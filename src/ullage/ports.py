"""The outside world as the commands see it. ``world/`` builds the real one; tests build small ones of plain values."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from ullage.domain.hyperparameters import Json
from ullage.domain.machine import Device

if TYPE_CHECKING:
    from ullage.domain.admission import State as Admission
    from ullage.domain.baseline import Run, Trial
    from ullage.domain.engine import Server
    from ullage.domain.facts import Fact
    from ullage.domain.guard import Guard, GuardOptions, Step
    from ullage.domain.load import Bench
    from ullage.domain.reading import DeviceReading, HostReading, Page
    from ullage.domain.supervision import Action, Event, Launch, State
    from ullage.domain.supervision import Run as EngineRun

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

    def write(self, path: str, text: str, *, into: str = "") -> None:
        """Write a whole file or nothing; in the directory ``into``, which is made, where one is named. Raises WorldError."""

    def read(self, path: str) -> bytes:
        """A whole file of moderate size. Raises WorldError and InputError."""


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

    def hold_study(self, study: str) -> None:
        """Keep other processes from tuning this study until this one ends. Fails where one does."""

    def trials_of(self, study: str) -> "tuple[Trial, ...]":
        """A tuning's journal, in order."""

    def as_export(self, runs: "tuple[Run, ...]") -> str:
        """Runs as the text of a file that ``read_export`` reads."""

    def read_export(self, path: str) -> "tuple[Run, ...]":
        """The runs of an exported file. Raises MalformedFileError too."""


class Record(NamedTuple):
    """One record of a data set: its number and line from 1 (line 0: the format has none), its value, and how it stands in the file."""

    number: int
    line: int
    value: Json
    text: str = ""
    why: str = ""  # it could not be read


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

    def place(self, path: str) -> str:
        """The one name of a file, there or not yet: two paths with the same name are one file."""

    def tokenizer_files(self, word: str) -> Mapping[str, bytes] | None:
        """The small files with a ``tokenizer.json`` at a path, or of a Hub id; None when there are none at hand. Raises WorldError."""

    def counter(self, name: str, opened: Callable[[], Any], *, nbytes: int) -> Counter:
        """Counting by what ``opened`` opens, in other processes too where there are many bytes of text. Raises WorldError."""


class Meters(Protocol):
    """This machine as it is now, and an engine that answers over HTTP."""

    def now(self) -> float:
        """Seconds since the epoch, by a clock that is never set back."""

    def devices(self, at: float) -> "tuple[DeviceReading, ...]":
        """A reading of each accelerator that a driver answers for; ``at`` is written on it."""

    def host(self, at: float, pid: int | None) -> "HostReading":
        """The host, and the processes from ``pid`` down where one is given."""

    def page(self, url: str, key_file: str = "") -> "Page | None":
        """What is at the address, shown a file's first key or else ULLAGE_API_KEY; None: nobody answers. Raises InputError, WorldError."""

    def listener(self, url: str) -> int | None:
        """The process of this machine that listens at the address; None where that is not told. Raises InputError."""


class Outlets(Protocol):
    """Where what is seen goes, besides the screen."""

    def publish(self, address: str, text: str) -> str:
        """Serve the text as a metrics page at ``[HOST:]PORT`` from now on; returns its address. Raises WorldError and InputError."""

    def post(self, url: str, body: str) -> str | None:
        """Send JSON; returns what went wrong, without secrets, or None. Raises InputError for what is no address."""

    def wait(self, seconds: float) -> None:
        """Let time pass."""


class Door(Protocol):
    """What stands between callers and an engine."""

    def start(self) -> None:
        """Take calls from now on, and hold them until the engine is ready. Raises WorldError."""

    def stop(self) -> None:
        """Take no more calls."""

    def engine_ready(self, url: str, launch: "Launch") -> None:
        """The engine answers there, as it was launched: let calls through, the held ones first."""

    def engine_died(self) -> None:
        """The engine is gone: hold what can be asked again, and end the rest."""

    def engine_gone(self) -> None:
        """The engine does not come back: hold nothing any more."""

    def drain(self) -> bool:
        """The engine is to end: refuse what comes from now on; returns whether there is still a request that came before."""

    def pulse(self, at: float, page: str) -> None:
        """The engine is well; ``page`` is its metrics, empty where it has none."""


class Care(NamedTuple):
    """How an engine is kept: what is decided, where it listens, and who is told. ``is_quiet`` sends its output to standard error."""

    begin: "Callable[[Launch, float], tuple[State, tuple[Action, ...]]]"
    decide: "Callable[[State, Event], tuple[State, tuple[Action, ...]]]"
    read_line: "Callable[[str], Fact | None]"
    record: "Callable[[EngineRun], str | None]"  # what to say of it, where something went wrong
    door: Door
    server: "Server"
    host: str
    port: int
    key: str | None = None
    folder: str | None = None  # where the engine is started; here, when it is not said
    is_quiet: bool = False
    is_silent: bool = False  # its output is read and shown to nobody


class Processes(Protocol):
    """Engines as processes of this machine."""

    def find(self, argv: tuple[str, ...], folder: str | None) -> tuple[str, ...] | None:
        """The words with the program's place, looked for in ``folder`` too; None where it is not installed."""

    def release(self, program: str, packages: tuple[str, ...]) -> str:
        """The release of the first of these Python packages that a program of ``find`` has; empty where there is none."""

    def whole(self, path: str) -> str:
        """A path of this machine from the root, where there is such; else as it is."""

    def free_port(self) -> int:
        """A port of this machine that nobody listens at."""

    def keep(self, launch: "Launch", care: Care) -> "State":
        """Run an engine until it is stopped or given up; nothing of it is left then. Raises WorldError."""


class Guards(Protocol):
    """What opens a guard in front of an engine."""

    def open(
        self, options: "GuardOptions", state: "Admission", step: "Step", documents: Mapping[str, bytes], metadata: Mapping[str, object]
    ) -> "Guard":
        """One that does what ``step`` says, and counts tokens by ``documents`` or a GGUF file's ``metadata``. Raises WorldError."""


class Logs(Protocol):
    """What engines wrote."""

    def lines(self, word: str) -> Iterator[str]:
        """The lines of a file, or of standard input for ``-``. Raises WorldError and InputError."""

    def process(self, pid: int) -> tuple[tuple[str, ...], Iterator[str]]:
        """The words a process of this machine was started with, and the lines of the file it writes to, if it does. Raises WorldError."""


class World(NamedTuple):
    """Everything outside, as one value."""

    models: ModelFiles
    hardware: Hardware
    desk: Desk
    store: Store
    data: DataSets
    meters: Meters
    outlets: Outlets
    processes: Processes
    guards: Guards
    logs: Logs
    bench: "Bench"
