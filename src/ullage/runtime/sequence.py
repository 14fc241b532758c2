"""One sequence that the runtime works on."""

from ullage.runtime.cache.table import Table


class Sequence:
    """Its tokens, how many of them are in the cache, and where."""

    def __init__(self, prompt: list[int], tables: tuple[Table, ...]) -> None:
        self.prompt_tokens = len(prompt)
        self.tokens = list(prompt)
        self.cached = 0
        self.tables = tables

    @property
    def is_prefilled(self) -> bool:
        """Whether only its newest token is not in the cache."""
        return self.cached >= len(self.tokens) - 1
