"""A stored run as a log and a case: its last lines, its engine, its machine and its settings."""

import re
from collections.abc import Iterable, Iterator

from ullage import engines
from ullage.commands.verb import Flags
from ullage.domain.baseline import Exit, Run
from ullage.domain.cause import Log
from ullage.domain.engine import Request
from ullage.errors import InputError
from ullage.frozen import replace
from ullage.planning.diagnose_gather import gather
from ullage.planning.regress import LAST, meant
from ullage.ports import World
from ullage.units import GiB

_FAILED = frozenset({Exit.OUT_OF_MEMORY, Exit.CRASHED, Exit.KILLED})
# Who kept it had looked whether the kernel did it: where it says no more than this, the kernel did not, and memory has no part in it.
_KILLED = re.compile(r"^crashed: killed by signal 9\b")


def find_run(word: str, world: World) -> Run:
    """The run of an id, of its beginning, or for ``last`` the newest that failed. Raises InputError and WorldError."""
    runs = world.store.runs()
    failed = next((run for run in runs if run.exit in _FAILED), None)
    if word == LAST and runs:
        if failed is None:
            raise InputError(f"no stored run failed, of {len(runs)}: `ullage baselines list` shows them; name one by its id")
        return failed
    found = meant(runs, word)
    return next((run for run in found if run.exit in _FAILED), found[0])


def gathered(lines: Iterable[str], wanted: str | None) -> Log:
    """What lines tell; of the engine ``wanted``, else of the one that they are recognised to be of."""
    known = engines.engines()
    return gather(lines, known, {name: engines.first_aid(name) for name in known}, wanted)


def log_of_run(run: Run) -> Log:
    """What its last lines tell; of a run without them, its failed allocations and its note."""
    log = gathered(_lines(run), run.engine if run.engine in engines.engines() else None)
    return replace(log, version=log.version or run.version or None)


def _lines(run: Run) -> Iterator[str]:
    yield from (f"{line}\n" for line in run.log)
    if not run.log:
        yield from (f"{event.text}\n" for event in run.out_of_memory)
    if run.exit in _FAILED and not _KILLED.search(run.note):
        yield f"{run.note}\n"


def request_of(run: Run) -> Request:
    """What was asked of the engine."""
    return Request(engine=run.engine, model=run.model.name, settings=run.settings, parallel=run.parallel, environment=(), findings=())


def flags_of(run: Run, flags: Flags) -> Flags:
    """The options, with the machine and the load of the run where they say nothing."""
    cards = [one for one in run.machine.devices if one.kind != "cpu"]
    gpu = ",".join(f"{one.total_bytes / GiB:.4f}GiB" for one in cards) or "cpu"
    host = f"{run.machine.host_bytes / GiB:.3f}GiB" if run.machine.host_bytes else None
    given = {"gpu": gpu, "host_memory": host, "engine_version": run.version or None}
    kept = {name: value for name, value in given.items() if flags.text(name) is None and value is not None}
    return flags.with_(**kept)


def notes_of(run: Run) -> tuple[str, ...]:
    """Which run this is, and what is missing of it."""
    said = f"run {run.id} of {run.engine} {run.version}: {run.exit.value.replace('_', ' ')}"
    ended = (f"what was seen of its end: {run.note}",) if run.note and run.exit in _FAILED else ()
    if run.log or run.exit not in _FAILED:
        return (said, *ended)
    return (said, *ended, "its last lines were not stored: what is said here rests on its last error")
