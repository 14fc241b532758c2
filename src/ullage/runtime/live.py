"""A request while it lives: its tokens, where they are in the cache, and what choosing its tokens remembers."""

from ullage.runtime.cache.prefix import extend, shareable
from ullage.runtime.cache.swap import Swapped
from ullage.runtime.cache.table import Table
from ullage.runtime.request import Request
from ullage.runtime.sample.chooser import Chooser
from ullage.runtime.schedule.plan import Row


class Live:
    """One sequence of the engine. ``ticket`` is its seniority, given when it is first let in."""

    __slots__ = ("cached", "chooser", "digests", "id", "request", "reused", "swapped", "tables", "ticket", "tokens")

    def __init__(self, id: int, request: Request) -> None:  # noqa: A002 - what it is
        self.id, self.request = id, request
        self.tokens = list(request.prompt)
        self.chooser = Chooser(request.sampling, request.prompt, request.mask, request.stop_tokens, request.min_new_tokens)
        self.tables: tuple[Table, ...] = ()
        self.cached = 0
        self.reused = 0
        self.digests: list[bytes] = []
        self.swapped: Swapped | None = None
        self.ticket: int | None = None

    @property
    def prompt_tokens(self) -> int:
        """How long the prompt is."""
        return len(self.request.prompt)

    @property
    def limit(self) -> int:
        """Tokens that are in the cache at most: all but the last one."""
        return self.prompt_tokens + self.request.max_new_tokens - 1

    def row(self) -> Row:
        """As the plan sees it while it runs."""
        return Row(self.id, len(self.tokens), self.cached, self.tables[0].reach, self.limit)

    def digested(self, tokens: int, page_tokens: int, sharp_from: int | None) -> list[bytes]:
        """Digests of the pages that the first ``tokens`` tokens fill and that others may use."""
        most, salt = shareable(self.prompt_tokens, sharp_from, tokens)
        pages = most // page_tokens
        if len(self.digests) < pages:
            extend(self.digests, self.tokens, page_tokens=page_tokens, pages=pages, salt=salt)
        return self.digests[:pages]

    def parts(self, start: int, end: int, sharp_from: int | None) -> list[tuple[int, int, int]]:
        """Tokens ``start`` to ``end`` in parts that dual chunk attention sharpens by one length each: (start, end, length).

        Tokens of the answer were sharpened by the length up to themselves; so are they when they are computed again.
        """
        border = end if sharp_from is None else max(self.prompt_tokens, sharp_from)
        parts = [(start, min(end, border), self.prompt_tokens)] if start < border else []
        return [*parts, *((at, at + 1, at + 1) for at in range(max(start, border), end))]
