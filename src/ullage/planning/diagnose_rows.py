"""What a failed allocation was by its size: rows of the vocabulary, as many as a setting lets a step have."""

from collections.abc import Iterator
from typing import Final

from ullage.domain.case import Case
from ullage.domain.cause import Cause, Family, Log, Stage
from ullage.domain.ledger import Purpose
from ullage.domain.plan import Lever, Limit
from ullage.frozen import dataclass, replace
from ullage.planning.diagnose_facts import detail
from ullage.units import GiB, KiB, MiB, format_bytes, format_count

_SIZES: Final = (2, 4)  # bytes of a score: as it is computed, and as it is sampled from
_PADDING: Final = (1, 64)  # to multiples of which engines round a vocabulary
_ROUND = 2 * MiB  # allocators of PyTorch round what is larger than ten of them
_LEAST, _LEAST_ROWS = 16 * MiB, 8  # less can equal anything
_LEAST_UNTOLD = 128 * MiB  # where no function names logits
_SHOWN = 0.005  # of the unit, which is written with two decimals
# An embedding has the size of so many rows too; graphs are captured of other numbers of rows than a setting for steps says.
_BEFORE_STEPS: Final = frozenset({Stage.START, Stage.LOAD, Stage.CACHE, Stage.CAPTURE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the error says was asked for, and was free. ``names`` are the settings that bound the rows it is made of, ``rows`` how many."""

    nbytes: int
    free_bytes: int | None
    line: int
    names: tuple[str, ...] = ()
    rows: int = 0
    says: str = ""


def asked_of(cause: Cause, log: Log, case: Case | None, levers: tuple[Lever, ...] = ()) -> Asked | None:
    """The allocation behind a cause, and what of a step it was; None where no line tells a size."""
    lines = {item.line for item in cause.evidence}
    facts = [(seen.line, seen.fact) for seen in log.sightings if seen.line in lines and detail(seen.fact, "requested_bytes")]
    if not facts:
        return None
    line, fact = next((pair for pair in facts if detail(pair[1], "free_bytes") is not None), facts[0])
    asked = Asked(nbytes=detail(fact, "requested_bytes") or 0, free_bytes=detail(fact, "free_bytes"), line=line)
    if case is None or cause.family is not Family.DEVICE or cause.stage in _BEFORE_STEPS:
        return asked
    if asked.nbytes < (_LEAST if cause.term is Purpose.LOGITS else _LEAST_UNTOLD):
        return asked
    return _as_rows(asked, case, levers)


def as_logits(cause: Cause, asked: Asked | None) -> Cause:
    """The cause with what its size tells."""
    if asked is None or not asked.rows:
        return cause
    evidence = tuple(replace(item, says=f"{item.says}: {asked.says}") if item.line == asked.line else item for item in cause.evidence)
    return replace(cause, term=Purpose.LOGITS, evidence=evidence)


def rows_in(case: Case) -> dict[str, int]:
    """The settings that can bound the rows of a step, each with how many it allows."""
    found = {name: value for name, value in case.settings.items if isinstance(value, int) and not isinstance(value, bool)}
    tokens = (case.workload.context_tokens or 0) * case.workload.concurrent_sequences
    return {**found, "context": tokens, "concurrency": tokens}


def _as_rows(asked: Asked, case: Case, levers: tuple[Lever, ...]) -> Asked:
    """The rows that come to what was asked for; where several settings allow as many, those that bound a step."""
    entries = case.model.architecture.vocab_size
    for width, each, cut in _widths(entries, case.parallel.tensor):
        names = [name for name, rows in rows_in(case).items() if rows >= _LEAST_ROWS and _is_same(rows * width * each, asked.nbytes)]
        steps = [name for name in names if any(lever.setting == name and Limit.WORKSPACE in lever.relieves for lever in levers)]
        if names:
            kept = tuple(steps or names)
            rows = rows_in(case)[kept[0]]
            part = f" / {cut}" if cut > 1 else ""
            says = f"{format_count(rows)} rows ({kept[0]}) x {format_count(entries)}{part} tokens of the vocabulary x {each} bytes"
            return replace(asked, names=kept, rows=rows, says=says)
    return asked


def _widths(entries: int, tensor: int) -> Iterator[tuple[int, int, int]]:
    """Scores in a row, bytes of each, and into how many parts the vocabulary is cut."""
    for cut in dict.fromkeys((1, tensor)):
        for each in reversed(_SIZES):
            for width in dict.fromkeys(-(-entries // unit) * unit for unit in _PADDING):
                yield -(-width // cut), each, cut


def _is_same(nbytes: int, asked: int) -> bool:
    """Whether so many bytes, as an allocator rounds and an error writes them, are those that were asked for."""
    unit = GiB if asked >= GiB else MiB if asked >= MiB else KiB
    rounded = -(-nbytes // _ROUND) * _ROUND if nbytes > 5 * _ROUND else nbytes
    return any(abs(size - asked) <= _SHOWN * unit + 1 for size in (nbytes, rounded))


def shrunk(asked: Asked, after: Case) -> int | None:
    """What would be asked for after a change of the rows; None where it does not touch them."""
    rows = min((rows_in(after).get(name, asked.rows) for name in asked.names), default=0)
    return asked.nbytes * rows // asked.rows if asked.rows and 0 < rows < asked.rows else None


def shrinks(asked: Asked, nbytes: int) -> str:
    """In words."""
    return f"what failed shrinks from {format_bytes(asked.nbytes)} to {format_bytes(nbytes)}"
