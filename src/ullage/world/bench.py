"""The load generator beside whoever keeps the engine: a thread with a loop of its own."""

import asyncio
import threading

from ullage.domain.load import IsEnough, Load, Round
from ullage.errors import UllageError
from ullage.world.load import rounds


class Loader:
    """Loads one engine from now on, as the port says."""

    def __init__(self, url: str, key: str | None, load: Load, is_enough: IsEnough) -> None:
        self._rounds: tuple[Round, ...] = ()
        self._is_over, self._problem = False, ""
        self._thread = threading.Thread(target=self._run, args=(url, key, load, is_enough), daemon=True)
        self._thread.start()

    @property
    def rounds(self) -> tuple[Round, ...]:
        """As the port says."""
        return self._rounds

    @property
    def is_over(self) -> bool:
        """As the port says."""
        return self._is_over

    @property
    def problem(self) -> str:
        """As the port says."""
        return self._problem

    def wait(self, seconds: float) -> None:
        """As the port says."""
        self._thread.join(timeout=seconds)

    def _run(self, url: str, key: str | None, load: Load, is_enough: IsEnough) -> None:
        try:
            self._problem = asyncio.run(rounds(url, key, load, is_enough, self._report))
        except (UllageError, OSError) as error:
            self._problem = str(error)
        finally:
            self._is_over = True

    def _report(self, one: Round) -> None:
        self._rounds = (*self._rounds, one)
