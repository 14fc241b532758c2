"""Every measured row, judged once: one reader and one set of measures for each family of engines."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.accuracy import vllm_rows
from tests.accuracy.cases_of_rows import Reader, Unjudged, ask
from tests.accuracy.rows import FIELD_LOGS, read_rows
from tests.accuracy.scores import Judged, Measures, judge


class Family(NamedTuple):
    """Rows whose engine column begins with ``word``."""

    word: str
    title: str
    read: Reader
    measures: Measures


# The first whose word fits reads a row. Another engine is one more line here, and a module like vllm_rows.
FAMILIES: tuple[Family, ...] = (Family("vllm", "vLLM", vllm_rows.read, vllm_rows.measures),)


class Rows(NamedTuple):
    """Judged rows by the title of their family, and the rows that were not, with the reason."""

    judged: dict[str, tuple[Judged, ...]]
    unjudged: tuple[Unjudged, ...]


def field_rows() -> Rows:
    """The field log."""
    return judged_rows(FIELD_LOGS)


@cache
def judged_rows(path: Path) -> Rows:
    """A file of rows, in its order."""
    judged: dict[str, list[Judged]] = {family.title: [] for family in FAMILIES}
    unjudged: list[Unjudged] = []
    readers = tuple((family.word, family.read) for family in FAMILIES)
    for row in read_rows(path):
        asked = ask(row, readers)
        if isinstance(asked, Unjudged):
            unjudged.append(asked)
            continue
        family = next(family for family in FAMILIES if row.text("engine").lower().startswith(family.word))
        found = judge(asked, family.measures)
        if isinstance(found, Judged):
            judged[family.title].append(found)
        else:
            unjudged.append(found)
    return Rows(judged={title: tuple(items) for title, items in judged.items()}, unjudged=tuple(unjudged))
