"""How much faster the end of a log is read where lines of known forms are passed over, and whether the same is found."""

import sys
import time
from collections import deque
from collections.abc import Sequence
from unittest import mock

from ullage import engines
from ullage.domain.cause import Log
from ullage.planning import diagnose_gather
from ullage.planning.diagnose_lines import Bare
from ullage.planning.diagnose_passed import Passed
from ullage.planning.diagnose_sieve import Sieve, Worth
from ullage.world import logs

LINES = 40_000


class LooksAtAll(Sieve):
    """Remembers nothing, so that every line is looked at."""

    def learn(self, form: bytes, line: str, pieces: Sequence[Bare], worth: Worth) -> None:
        """Nothing."""


class PassesNothing(Passed):
    """Lets no line pass unread."""

    def among(self, *_asked: object) -> dict[int, Worth]:
        """None."""
        return {}


def read(lines: Sequence[str], sieve: type[Sieve], passed: type[Passed]) -> tuple[float, Log]:
    """Processor time of one reading, and what it found."""
    known = engines.engines()
    aids = {name: engines.first_aid(name) for name in known}
    with mock.patch.object(diagnose_gather, "Sieve", sieve), mock.patch.object(diagnose_gather, "Passed", passed):
        began = time.process_time()
        found = diagnose_gather.gather(lines, known, aids)
        return time.process_time() - began, found


def main(path: str) -> None:
    """Print one line."""
    lines = deque(logs.lines(path), maxlen=LINES)
    read(lines, Sieve, Passed)  # compiles what is searched for
    (sieved_s, found), (all_s, same) = read(lines, Sieve, Passed), read(lines, LooksAtAll, PassesNothing)
    print(f"{all_s / sieved_s:.1f} x as fast as looking at every line, {'the same' if found == same else 'NOT THE SAME'} found")


if __name__ == "__main__":
    main(sys.argv[1])
