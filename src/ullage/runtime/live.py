"""A request while it lives: its tokens, where they are in the cache, and what choosing its tokens remembers."""

from ullage.runtime.cache.table import Table
from ullage.runtime.request import Request
from ullage.runtime.sample.chooser import Chooser
from ullage.runtime.schedule.plan import Row


class Live:
    """One sequence of the engine. ``ticket`` is its seniority, given when it is first let in."""

    __slots__ = ("cached", "chooser", "id", "request", "reused", "tables", "ticket", "tokens")

    def __init__(self, id: int, request: Request) -> None:  # noqa: A002 - what it is
        self.id, self.request = id, request
        self.tokens = list(request.prompt)
        self.chooser = Chooser(request.sampling, request.prompt, request.mask)
        self.tables: tuple[Table, ...] = ()
        self.cached = 0
        self.reused = 0
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
        """As the plan sees it."""
        return Row(self.id, len(self.tokens), self.cached, self.tables[0].reach if self.tables else self.cached, self.limit)
