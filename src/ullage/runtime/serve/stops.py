"""Stop strings in a text that comes in pieces: what may be shown already, and where the text ends."""

from collections.abc import Sequence


class Stops:
    """``push`` gives text that no stop string can reach any more; what could be the beginning of one is held back."""

    __slots__ = ("_held", "_stops", "hit")

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.hit: str | None = None  # the stop string that ended the text

    def push(self, text: str) -> str:
        """The next piece. After a hit nothing comes any more."""
        if self.hit is not None:
            return ""
        if not self._stops:
            return text
        self._held += text
        found = min(((at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0), default=None, key=lambda pair: pair[0])
        if found is not None:
            shown, self.hit = self._held[: found[0]], found[1]
            self._held = ""
            return shown
        keep = max(_overlap(self._held, stop) for stop in self._stops)
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def finish(self) -> str:
        """What was held back, when the text ended without a stop string."""
        shown, self._held = self._held, ""
        return shown


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of ``text`` begin ``stop``."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-size:])), 0)
