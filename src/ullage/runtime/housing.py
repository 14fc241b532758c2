"""The cache as sequences live in it: who gets pages, what is found again, what is put aside on the host and comes back."""

from collections.abc import Callable

from ullage.engines.runtime.settings import NATIVE
from ullage.frozen import dataclass
from ullage.runtime.cache.pool import Pool
from ullage.runtime.cache.prefix import Match
from ullage.runtime.cache.swap import Swapped, held_bytes
from ullage.runtime.live import Live
from ullage.runtime.load import Loaded
from ullage.runtime.process import address_limit
from ullage.runtime.schedule.form import Form, Kept
from ullage.runtime.schedule.plan import Candidate, Room

_SPARE_LANES = 4  # lanes for each sequence that runs where beginnings are kept: one for itself and others for what was left behind


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What the engine may take, and in which portions."""

    budget_bytes: int  # of the cache, on all devices
    max_len: int  # tokens of one sequence, prompt and answer together
    page_tokens: int = 256
    kv_dtype: str = NATIVE  # as the setting: int8, or k=int8,v=int4
    chunk_tokens: int = 1024  # rows of one step
    max_sequences: int = 16  # that run at once
    prefix_cache: bool = True
    swap_bytes: int = 0  # of host memory, for pages of sequences that were put aside
    reserve_tokens: int = 256  # growth kept free for each running sequence when another is let in, until answers tell how far they grow
    keep_idle_s: float = 600.0  # how long pages that nobody holds are kept for a prompt that comes again
    budgets: tuple[int, ...] = ()  # of the cache on each device; else cut in proportion to its pages


class Housing:
    """The pool and what it holds beyond running sequences. ``clock`` gives seconds."""

    def __init__(self, loaded: Loaded, settings: EngineSettings, clock: Callable[[], float]) -> None:
        self._settings, self._clock = settings, clock
        self._sharp_from = loaded.traits.length_temperature_from
        self.pool = Pool(
            loaded.groups,
            budget_bytes=settings.budget_bytes,
            page_tokens=settings.page_tokens,
            lanes=settings.max_sequences * (_SPARE_LANES if settings.prefix_cache and address_limit() is None else 1),
            lane_tokens=settings.max_len,
            dtype=loaded.dtype,
            device=loaded.device,
            clock=clock if settings.prefix_cache else None,
            kv_dtype=settings.kv_dtype,
            devices=loaded.devices,
            budgets=settings.budgets,
            in_slabs=True if address_limit() is not None else None,  # each place would count against the limit, taken or not
        )
        kept = [
            (group.device, Kept(group.window, arena.page_bytes)) for group, arena in zip(self.pool.groups, self.pool.arenas, strict=True)
        ]
        self.form = Form(settings.page_tokens, tuple(one for _, one in kept))
        self._forms = [Form(settings.page_tokens, tuple(one for on, one in kept if on == device)) for device in range(len(loaded.devices))]
        self.max_len = min(settings.max_len, self.pool.longest_tokens)
        self.swapped_bytes = 0

    def rooms(self) -> tuple[Room, ...]:
        """The memory of every device that layers with a cache lie on; at least one does."""
        found = zip(self._forms, self.pool.budgets, self.pool.used_on(), strict=True)
        return tuple(Room(form=form, budget_bytes=budget, used_bytes=used) for form, budget, used in found if form.groups)

    def pool_tokens(self) -> int:
        """That have room while no window is full, of the device with the least room for them."""
        return min(room.budget_bytes // room.form.bundle_bytes for room in self.rooms()) * self._settings.page_tokens

    def longest_tokens(self) -> int:
        """Of one sequence alone."""
        return min(room.form.longest(room.budget_bytes, self._settings.page_tokens, self.max_len) for room in self.rooms())

    def candidate(self, live: Live) -> tuple[Candidate, Match | None]:
        """What a sequence that waits would need, and the pages of its beginning that are here."""
        if live.swapped is not None or not self._settings.prefix_cache:
            return Candidate(len(live.tokens), live.limit), None
        # One token at least is computed: logits come of it.
        match = self.pool.find(live.digested(len(live.tokens) - 1, self._settings.page_tokens, self._sharp_from))
        held = [nbytes for nbytes, form in zip(self.pool.held_on(match), self._forms, strict=True) if form.groups]
        return Candidate(len(live.tokens), live.limit, held[0], tuple(held[1:])), match

    def let_in(self, live: Live, match: Match | None) -> None:
        """Give a sequence tables: with what it had, with pages found by their digests, or empty ones."""
        if live.swapped is not None:
            live.tables = self.pool.new_tables()
            if live.swapped.restore(self.pool, live.tables, live.cached):
                self._drop_swapped(live)
                return
            self._drop_swapped(live)
            live.cached = 0
        if match is not None and match.pages:
            live.tables = self.pool.adopt(match)
            live.cached = match.pages * self._settings.page_tokens
            live.reused = max(live.reused, min(live.cached, live.prompt_tokens))
        else:
            live.tables = self.pool.new_tables()

    def grow(self, live: Live, tokens: int) -> None:
        """Room for ``tokens`` tokens. Raises MemoryError where the pool has none, which a plan excludes."""
        if not self.pool.grow(live.tables, tokens):
            raise MemoryError(f"the pool has no pages for {tokens} tokens of a sequence that was planned")

    def settle(self, live: Live, cached: int) -> None:
        """So many tokens are in the cache now: full pages may be found, and windows move on."""
        before, live.cached = live.cached, cached
        size = self._settings.page_tokens
        if self._settings.prefix_cache and cached // size > before // size:
            self.pool.remember(live.tables, live.digested(cached, size, self._sharp_from), before // size)
        self.pool.slide(live.tables, cached)

    def put_aside(self, live: Live) -> bool:
        """Take a sequence's pages; whether they were copied to the host, else they are computed again."""
        nbytes = held_bytes(self.pool, live.tables)
        swaps = 0 < nbytes <= self._settings.swap_bytes - self.swapped_bytes
        if swaps:
            live.swapped = Swapped(self.pool, live.tables)
            self.swapped_bytes += nbytes
        else:
            live.cached = 0
        self.pool.release(live.tables)
        live.tables = ()
        return swaps

    def leave(self, live: Live) -> None:
        """Nothing of the sequence is needed any more."""
        self.pool.release(live.tables)
        self._drop_swapped(live)

    def tidy(self) -> None:
        """Give back what has been idle for longer than is kept."""
        self.pool.drop_idle(self._clock() - self._settings.keep_idle_s)

    def _drop_swapped(self, live: Live) -> None:
        if live.swapped is not None:
            self.swapped_bytes -= live.swapped.nbytes
            live.swapped = None
