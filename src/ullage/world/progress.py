"""How far a long reading has come, on standard error."""

import sys
import time

_EVERY_S, _EVERY_S_IN_A_LOG, _SILENT_S = 0.25, 15.0, 1.0


class Progress:
    """Says the share of ``total`` that is done and the time left: on one line of a terminal, or now and then in a log."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, max(1, total)
        self._begun = self._said = time.monotonic()
        self._on_terminal = sys.stderr.isatty()
        self._is_shown = False

    def at(self, done: int) -> None:
        """Note that so much of the total is done."""
        now = time.monotonic()
        if now - self._begun < _SILENT_S or now - self._said < (_EVERY_S if self._on_terminal else _EVERY_S_IN_A_LOG):
            return
        self._said, self._is_shown = now, True
        share = min(1.0, done / self._total)
        left = (now - self._begun) * (1 - share) / share if share else 0.0
        line = f"{self._what}: {share:4.0%}, {left:.0f} s left"
        sys.stderr.write(f"\r{line}\x1b[K" if self._on_terminal else f"{line}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Take the line away."""
        if self._is_shown and self._on_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
