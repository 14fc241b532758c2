"""ExLlamaV3, by TabbyAPI, its own scripts or text-generation-webui."""

from collections.abc import Mapping

from ullage.catalog.tabbyapi import SERVER
from ullage.domain.case import Version
from ullage.domain.engine import Engine, Profile, Request
from ullage.domain.facts import Fact
from ullage.domain.workload import Growth
from ullage.engines.exllamav3.capacity import capacity
from ullage.engines.exllamav3.command import command
from ullage.engines.exllamav3.ledger import ledger
from ullage.engines.exllamav3.levers import layouts, levers
from ullage.engines.exllamav3.notes import notes
from ullage.engines.exllamav3.objections import objections
from ullage.engines.exllamav3.settings import KNOBS, resolve, validate
from ullage.engines.exllamav3.versions import CONSTANTS, DEFAULT, NEWEST, OLDEST


def read_command(argv: tuple[str, ...], environment: Mapping[str, str], version: Version | None) -> Request | None:
    """As ``read_command.read_command``; imported on first use, as a plan needs none of it."""
    from ullage.engines.exllamav3.read_command import read_command as read  # noqa: PLC0415 - keeps the cold start of a plan low

    return read(argv, environment, version)


def read_log_line(line: str) -> Fact | None:
    """As ``log.read_log_line``; imported on first use."""
    from ullage.engines.exllamav3.log import read_log_line as read  # noqa: PLC0415 - keeps the cold start of a plan low

    return read(line)


def read_metrics(_page: str) -> tuple[Fact, ...]:
    """Nothing: neither the library nor TabbyAPI has a metrics page."""
    return ()


ENGINE = Engine(
    profile=Profile(
        name="exllamav3",
        title="ExLlamaV3",
        oldest=OLDEST,
        newest=NEWEST,
        default=DEFAULT,
        knobs=KNOBS,
        constants=CONSTANTS,
        device_kinds=frozenset({"cuda"}),
        package="exllamav3",
        distributions=("exllamav3",),
        growth=Growth.REQUEST,
        length_setting="max_seq_len",
        servers=(SERVER,),
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
