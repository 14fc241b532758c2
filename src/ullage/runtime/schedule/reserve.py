"""How much growth is kept free for each sequence when another is let in: as much as answers took lately on average."""

from collections import deque
from typing import Final

_KEPT: Final = 64
_FEWEST: Final = 8  # answers that an average is taken of


class Reserve:
    """``most`` tokens until enough answers ended. A sum over many sequences is what is kept free, so the average is the measure of each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._ended: deque[int] = deque(maxlen=_KEPT)

    def note(self, answered: int, *, was_cut: bool) -> None:
        """An answer came to its end; one that was cut had gone on, nobody knows how far."""
        self._ended.append(self._most if was_cut else min(self._most, answered))

    @property
    def tokens(self) -> int:
        """For each sequence."""
        return self._most if len(self._ended) < _FEWEST else -(-sum(self._ended) // len(self._ended))
