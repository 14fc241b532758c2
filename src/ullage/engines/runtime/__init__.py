"""Our own runtime on PyTorch: paged cache grown on demand, chunked prefill, dual chunk attention."""

from ullage.domain.engine import Engine, Profile, Server
from ullage.domain.workload import Growth
from ullage.engines.runtime.capacity import capacity
from ullage.engines.runtime.command import command
from ullage.engines.runtime.ledger import ledger
from ullage.engines.runtime.levers import layouts, levers
from ullage.engines.runtime.log import read_log_line, read_metrics
from ullage.engines.runtime.notes import notes
from ullage.engines.runtime.objections import objections
from ullage.engines.runtime.read_command import read_command
from ullage.engines.runtime.resolve import resolve
from ullage.engines.runtime.settings import KNOBS, validate
from ullage.engines.runtime.versions import CONSTANTS, DEFAULT, NEWEST, OLDEST

ENGINE = Engine(
    profile=Profile(
        name="runtime",
        title="Ullage runtime",
        oldest=OLDEST,
        newest=NEWEST,
        default=DEFAULT,
        knobs=KNOBS,
        constants=CONSTANTS,
        device_kinds=frozenset({"cpu", "cuda"}),
        package="ullage[runtime]",
        length_setting="max_len",
        growth=Growth.TOKEN,
        fetches=False,
        servers=(Server(program="ullage.runtime", port=8000, key_flag="--api-key-file", key_is_a_file=True),),
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
