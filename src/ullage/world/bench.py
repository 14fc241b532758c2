"""A door that loads the engine as soon as it is ready: what stands between the keeper of an engine and the load generator."""

import asyncio
import threading
from typing import TYPE_CHECKING

from ullage.domain.load import Load, Round
from ullage.errors import UllageError
from ullage.world.load import IsEnough, rounds

if TYPE_CHECKING:
    from ullage.domain.supervision import Launch


class LoadingDoor:
    """Loads one engine, in a thread with a loop of its own."""

    def __init__(self, load: Load, is_enough: IsEnough, key: str | None) -> None:
        self._load, self._is_enough, self._key = load, is_enough, key
        self._rounds: tuple[Round, ...] = ()
        self._is_over, self._problem = False, ""
        self._thread: threading.Thread | None = None

    @property
    def rounds(self) -> tuple[Round, ...]:
        """What was measured so far."""
        return self._rounds

    @property
    def is_over(self) -> bool:
        """Whether the load has ended."""
        return self._is_over

    @property
    def problem(self) -> str:
        """Why it failed; empty where it did not."""
        return self._problem

    def start(self) -> None:
        """Nothing is held back."""

    def stop(self) -> None:
        """Wait for the load to see that nobody answers any more."""
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def engine_ready(self, url: str, launch: "Launch") -> None:  # noqa: ARG002 - as the port says
        """Load it."""
        self._thread = threading.Thread(target=self._run, args=(url,), daemon=True)
        self._thread.start()

    def engine_died(self) -> None:
        """The requests under way say so themselves."""

    def engine_gone(self) -> None:
        """As above."""

    def pulse(self, at: float, page: str) -> None:
        """What it says of itself is read elsewhere."""

    def _run(self, url: str) -> None:
        try:
            self._problem = asyncio.run(rounds(url, self._key, self._load, self._is_enough, self._report))
        except (UllageError, OSError) as error:
            self._problem = str(error)
        finally:
            self._is_over = True

    def _report(self, one: Round) -> None:
        self._rounds = (*self._rounds, one)
