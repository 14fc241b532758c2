"""Hugging Face Transformers with Accelerate: ``generate`` on a device map, and the server with continuous batching."""

from ullage.domain.engine import Engine, Profile, Server
from ullage.domain.workload import Growth
from ullage.engines.transformers.capacity import capacity
from ullage.engines.transformers.command import command
from ullage.engines.transformers.ledger import ledger
from ullage.engines.transformers.levers import layouts, levers
from ullage.engines.transformers.log import read_log_line, read_metrics
from ullage.engines.transformers.notes import notes
from ullage.engines.transformers.objections import objections
from ullage.engines.transformers.read_command import read_command
from ullage.engines.transformers.settings import KNOBS, resolve, validate
from ullage.engines.transformers.versions import CONSTANTS, DEFAULT, NEWEST, OLDEST

ENGINE = Engine(
    profile=Profile(
        name="transformers",
        title="Transformers",
        oldest=OLDEST,
        newest=NEWEST,
        default=DEFAULT,
        knobs=KNOBS,
        constants=CONSTANTS,
        device_kinds=frozenset({"cuda", "rocm", "xpu", "mps", "cpu"}),
        package="transformers[serving]",
        distributions=("transformers",),
        growth=Growth.SLOT,
        servers=(Server(program="serve", port=8000, settings=(("continuous_batching", True),)),),
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
