"""What it takes to be an engine: a record of pure functions, the same names in the same order everywhere."""

from collections.abc import Callable, Mapping

from ullage.domain.case import Case, Settings, Value, Version
from ullage.domain.facts import Fact
from ullage.domain.ledger import Ledger
from ullage.domain.placement import Parallel
from ullage.domain.plan import Capacity, Command, Finding, Lever, Objection
from ullage.domain.provenance import Constant
from ullage.domain.workload import Growth
from ullage.errors import InputError
from ullage.frozen import dataclass

_LAST_PORT = 65535  # of TCP: sixteen bits


def checked_port(port: int, flag: str = "--port") -> int:
    """The port that a flag says. Raises InputError for one that TCP does not have."""
    if port > _LAST_PORT:
        raise InputError(f"{flag} {port}: write a port from 1 to {_LAST_PORT}")
    return port


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """A setting that matters to memory: the engine's own name, what it means, and its default in words."""

    name: str
    meaning: str
    default: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """Words added to a command where only this machine reaches it, unless the command says one of ``instead``."""

    words: tuple[str, ...]
    instead: tuple[str, ...] = ()  # flags and variables beside the words' own first
    since: tuple[int, ...] = ()  # the first release that needs it; a release nobody knows is not given it


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A way the engine serves requests: how its command is known, told where to listen, and asked whether it is well."""

    program: str = ""  # what one of the command's words ends with; empty for any command
    port: int  # where it listens unless told
    port_flag: str = "--port"
    host_flag: str = "--host"
    variable: str = ""  # the environment variable that takes HOST:PORT instead of flags
    health: str = "/health"
    key_flag: str = "--api-key"
    key_is_a_file: bool = False  # the flag names a file whose first line is the key
    behind: tuple[Extra, ...] = ()
    settings: tuple[tuple[str, Value], ...] = ()  # what makes a plan of the engine such a server
    images: tuple[tuple[str, str], ...] = ()  # container image by kind of device, with {version}
    folder_flag: str = ""  # names the folder in which it looks for a published model, which it does not fetch
    checkout: str = ""  # the repository that holds the program; no package does
    branch: str = ""  # of that repository, where it has to be another than its first

    @property
    def clone(self) -> str:
        """The words behind `git clone` that fetch the program; empty where a package holds it."""
        return f"--branch {self.branch} {self.checkout}" if self.branch else self.checkout


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The engine's name, the releases whose rules are known, its knobs and its constants."""

    name: str
    title: str
    oldest: Version
    newest: Version
    default: Version
    knobs: tuple[Knob, ...]
    constants: tuple[Constant, ...]
    device_kinds: frozenset[str]
    package: str  # what to install
    distributions: tuple[str, ...] = ()  # Python packages whose release is the engine's: the first that is there
    length_setting: str = ""  # the setting that bounds a sequence, where there is one
    growth: Growth = Growth.TOKEN  # when it gives a sequence its cache
    shares_processor: bool = False  # several ranks may lie on one processor
    fetches: bool = True  # a model by its published name; else it loads what lies on its machine, by a path
    servers: tuple[Server, ...] = ()  # the first whose program a command names


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A command somebody wrote, as settings. ``model`` is the argument as written; ``findings`` name what is wrong with it."""

    engine: str
    model: str | None
    settings: Settings
    parallel: Parallel
    environment: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    version: Version | None = None  # where the command itself implies one
    stated: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One file or folder in ``engines/``, found by existing. No function does I/O; each is tested with recorded text.

    ``resolve`` fills every default that matters, so that all others read a complete case. ``objections`` may use the ledger's
    numbers. ``levers`` lists what could be changed, for the search and the remedies; ``layouts`` where the model could lie.
    """

    profile: Profile
    resolve: Callable[[Case], Case]
    objections: Callable[[Case], tuple[Objection, ...]]
    ledger: Callable[[Case], Ledger]
    capacity: Callable[[Case, Ledger], Capacity]
    levers: Callable[[Case], tuple[Lever, ...]]
    layouts: Callable[[Case], tuple[Parallel, ...]]  # ways to spread over the machine's devices, the preferred first
    command: Callable[[Case], Command]
    read_command: Callable[[tuple[str, ...], Mapping[str, str], Version | None], Request | None]  # None: not this engine's command
    read_log_line: Callable[[str], Fact | None]
    read_metrics: Callable[[str], tuple[Fact, ...]]
    notes: Callable[[Case, Ledger], tuple[str, ...]]
    validate: Callable[[str, Value], Value]  # one `--set NAME=VALUE`, typed; raises InputError with the nearest right name
