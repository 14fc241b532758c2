"""Which rows the next step computes, whom it must put aside for that, and who may be let in.

Senior is who was let in first. Whatever is short, the most senior sequence advances; so every one ends, whatever comes after it.
"""

from ullage.frozen import dataclass
from ullage.runtime.schedule.form import Form

_PREFILL_SHARE = 8  # at least one row in so many is for prompts while there are any


@dataclass(frozen=True, slots=True)
class Row:
    """A sequence that runs: ``cached`` of its ``tokens`` are in the cache, which has room for ``reach``; it grows to ``limit`` at most."""

    id: int
    tokens: int
    cached: int
    reach: int
    limit: int

    @property
    def left(self) -> int:
        """Tokens that are to be computed before the next one is known; 1 while it decodes."""
        return self.tokens - self.cached


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The memory of one device: the pages of the layers that lie there."""

    form: Form
    budget_bytes: int
    used_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The sequences that run, senior first, and the memory they are in; ``beside``: that of further devices."""

    form: Form
    budget_bytes: int
    used_bytes: int  # of pages that some sequence holds
    free_pages: int  # of every group there are places for
    chunk_tokens: int  # rows of one step at most
    reserve_tokens: int  # growth that is kept free for each sequence when another is let in
    turn: int  # counts steps
    rows: tuple[Row, ...]
    beside: tuple[Room, ...] = ()

    @property
    def rooms(self) -> tuple[Room, ...]:
        """Of all devices; a sequence grows on all of them at once."""
        return Room(form=self.form, budget_bytes=self.budget_bytes, used_bytes=self.used_bytes), *self.beside


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens ``start`` to ``end`` of one sequence."""

    id: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Preempt:
    """This sequence has to give its pages to more senior ones first."""

    id: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sequence that waits: ``shared_bytes`` of what it needs are pages that others hold anyway; ``shared_beside``: on further devices."""

    tokens: int
    limit: int
    shared_bytes: int = 0
    shared_beside: tuple[int, ...] = ()


def plan(state: State) -> tuple[Piece, ...] | Preempt:
    """The rows of the next step, senior sequences first; or whom to preempt before asking again."""
    wanted = _wanted(state)
    form, places = state.form, _affordable(state)
    found = []
    for row in state.rows:
        want = wanted.get(row.id, 0)
        if not want:
            continue
        end = min(row.cached + want, row.reach + places * form.page_tokens)
        if end <= row.cached:
            youngest = state.rows[-1]
            if youngest.id != row.id:
                return Preempt(youngest.id)
            continue  # it is the youngest: it waits, and gives its pages when a senior one needs them
        places -= max(0, form.pages(end) - form.pages(row.reach))
        found.append(Piece(row.id, row.cached, end))
    return tuple(found)


def _affordable(state: State) -> int:
    """Pages of every group that the budgets of all devices pay for, and that there are places for."""
    paid = [(room.budget_bytes - room.used_bytes) // room.form.bundle_bytes for room in state.rooms if room.form.groups]
    return min(state.free_pages, *paid)


def _wanted(state: State) -> dict[int, int]:
    """Rows for each sequence before memory is asked: those that decode first, then prompts."""
    decoding = [row.id for row in state.rows if row.left == 1]
    reading = [row for row in state.rows if row.left > 1]
    chunk, turn = state.chunk_tokens, state.turn
    most = chunk
    if reading:
        most = chunk - max(1, chunk // _PREFILL_SHARE)
        if not most:  # one row: every other step is for those that decode
            turn, most = divmod(turn, 2)
    if len(decoding) > most:
        first = turn * most % len(decoding)
        decoding = (decoding + decoding)[first : first + most]
    wanted = dict.fromkeys(decoding, 1)
    if reading and len(decoding) < chunk:
        wanted |= _shared(reading, chunk - len(decoding))
    return wanted


def _shared(reading: list[Row], rows: int) -> dict[int, int]:
    """Half of the rows go to the most senior prompt, so that none starves; the others to the shortest first, for quick first tokens."""
    senior = reading[0]
    wanted = {senior.id: min(senior.left, rows - rows // 2)}
    rows -= wanted[senior.id]
    for row in sorted(reading[1:], key=lambda row: row.left):
        if not rows:
            break
        wanted[row.id] = min(row.left, rows)
        rows -= wanted[row.id]
    wanted[senior.id] += min(senior.left - wanted[senior.id], rows)
    return wanted


def admits(state: State, new: Candidate) -> bool:
    """Whether a sequence fits beside the running ones with all of its prompt, theirs, and a reserve for the growth of each."""
    if not state.rows:
        return True  # what could not run alone was refused

    def fits(room: Room, shared_bytes: int) -> bool:
        form = room.form

        def promised(tokens: int, limit: int) -> int:
            return form.peak_bytes(min(limit, tokens + state.reserve_tokens), state.chunk_tokens)

        growth = sum(max(0, promised(row.tokens, row.limit) - form.held_bytes(row.cached, row.reach)) for row in state.rows)
        return room.used_bytes + growth + promised(new.tokens, new.limit) - shared_bytes <= room.budget_bytes

    shared = (new.shared_bytes, *(new.shared_beside or (0,) * len(state.beside)))
    return all(map(fits, state.rooms, shared))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request can never run: tokens or bytes it needs and there are, and the longest that fits."""

    need: int
    have: int
    unit: str
    longest_tokens: int

    def __str__(self) -> str:
        return f"needs {self.need:,} {self.unit} and {self.have:,} are there; the longest that fits is {self.longest_tokens:,} tokens"


def refusal(form: Form, *, budget_bytes: int, max_len: int, tokens: int, limit: int) -> Refusal | None:
    """Whether a request for ``tokens`` tokens in all, ``limit`` of them in the cache, can never run; None where it can."""
    longest = form.longest(budget_bytes, form.page_tokens, max_len)
    if tokens > max_len:
        return Refusal(tokens, max_len, "tokens", longest)
    need = form.peak_bytes(limit, form.page_tokens)
    return Refusal(need, budget_bytes, "bytes of cache", longest) if need > budget_bytes else None
