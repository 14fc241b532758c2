"""KTransformers, both programs of that name: the classic server (0.1 to 0.3) and kt-kernel in a fork of SGLang (0.4 to 0.7)."""

from ullage.domain.engine import Engine, Extra, Profile, Server
from ullage.engines.ktransformers.capacity import capacity
from ullage.engines.ktransformers.command import command
from ullage.engines.ktransformers.ledger import ledger
from ullage.engines.ktransformers.levers import layouts, levers
from ullage.engines.ktransformers.log import read_log_line, read_metrics
from ullage.engines.ktransformers.notes import notes
from ullage.engines.ktransformers.objections import objections
from ullage.engines.ktransformers.read_command import read_command
from ullage.engines.ktransformers.resolve import resolve
from ullage.engines.ktransformers.settings import KNOBS, validate
from ullage.engines.ktransformers.versions import CONSTANTS, DEFAULT, NEWEST, OLDEST

ENGINE = Engine(
    profile=Profile(
        name="ktransformers",
        title="KTransformers",
        oldest=OLDEST,
        newest=NEWEST,
        default=DEFAULT,
        knobs=KNOBS,
        constants=CONSTANTS,
        device_kinds=frozenset({"cuda"}),
        length_setting="context_length",
        package="ktransformers (to 0.3.2), kt-kernel with sglang-kt (from 0.4)",
        distributions=("ktransformers", "kt-kernel"),
        servers=(
            Server(program="sglang.launch_server", port=30000, behind=(Extra(words=("--enable-metrics",)),)),
            Server(program="ktransformers", port=10002, health="/v1/models"),
            Server(program="server/main.py", port=10002, health="/v1/models"),
            Server(program="-c", port=10002, health="/v1/models"),
        ),
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
