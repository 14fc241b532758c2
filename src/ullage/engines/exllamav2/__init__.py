"""ExLlamaV2, 0.0.13 to 0.3.2, by its own scripts, TabbyAPI or text-generation-webui."""

from collections.abc import Mapping

from ullage.catalog.tabbyapi import SERVER
from ullage.domain.case import Version
from ullage.domain.engine import Engine, Profile, Request
from ullage.domain.facts import Fact
from ullage.domain.workload import Growth
from ullage.engines.exllamav2.capacity import capacity
from ullage.engines.exllamav2.command import command
from ullage.engines.exllamav2.ledger import ledger
from ullage.engines.exllamav2.levers import layouts, levers
from ullage.engines.exllamav2.notes import notes
from ullage.engines.exllamav2.objections import objections
from ullage.engines.exllamav2.place import resolve
from ullage.engines.exllamav2.settings import KNOBS, validate
from ullage.engines.exllamav2.versions import CONSTANTS, DEFAULT, NEWEST, OLDEST
from ullage.frozen import replace


def read_command(argv: tuple[str, ...], environment: Mapping[str, str], version: Version | None) -> Request | None:
    """As ``read_command.read_command``; imported on first use, as a plan needs none of it."""
    from ullage.engines.exllamav2.read_command import read_command as read  # noqa: PLC0415 - keeps the cold start of a plan low

    return read(argv, environment, version)


def read_log_line(line: str) -> Fact | None:
    """As ``log.read_log_line``; imported on first use."""
    from ullage.engines.exllamav2.log import read_log_line as read  # noqa: PLC0415 - keeps the cold start of a plan low

    return read(line)


def read_metrics(_page: str) -> tuple[Fact, ...]:
    """Nothing: neither the library nor TabbyAPI has a metrics page."""
    return ()


ENGINE = Engine(
    profile=Profile(
        name="exllamav2",
        title="ExLlamaV2",
        oldest=OLDEST,
        newest=NEWEST,
        default=DEFAULT,
        knobs=KNOBS,
        constants=CONSTANTS,
        device_kinds=frozenset({"cuda", "rocm"}),
        package="exllamav2",
        distributions=("exllamav2",),
        growth=Growth.REQUEST,
        length_setting="max_seq_len",
        servers=(replace(SERVER, branch="exl2-checkpoint"),),
    ),
    resolve=resolve,
    objections=objections,
    ledger=ledger,
    capacity=capacity,
    levers=levers,
    layouts=layouts,
    command=command,
    read_command=read_command,
    read_log_line=read_log_line,
    read_metrics=read_metrics,
    notes=notes,
    validate=validate,
)
