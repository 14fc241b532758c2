"""Every measured row, judged once: one reader and one set of measures for each family of engines."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.accuracy import exllama_rows, ipex_rows, ktransformers_rows, llama_cpp_rows, sglang_rows, transformers_rows, vllm_rows
from tests.accuracy.cases_of_rows import Asked, Reader, Unjudged, ask
from tests.accuracy.rows import FIELD_LOGS, OFFICIAL_TABLES, Row, read_rows
from tests.accuracy.scores import BY_QUANTITY, Judged, Measures, judge


class Family(NamedTuple):
    """Rows whose engine column begins with ``word``; ``needs`` is what a report must say for a quantity to follow from it."""

    word: str
    title: str
    read: Reader
    measures: Measures
    needs: Mapping[str, frozenset[str]] = BY_QUANTITY


def _unknown(row: Row) -> Asked | Unjudged:
    return Unjudged(row=row, why="engine not known")


_UNKNOWN = (
    "tgi", "lmdeploy", "exllama (v1)", "textgen (exllama_hf)", "transformers + gptq-for-llama", "tensorrt-llm", "aphrodite", "freetoken",
    "imp", "pegainfer", "ctranslate2", "verl",
)  # fmt: skip
_KTRANSFORMERS = Family("ktransformers", "KTransformers", ktransformers_rows.read, ktransformers_rows.measures, ktransformers_rows.NEEDS)
_LLAMA_CPP = Family("llama.cpp", "llama.cpp and Ollama", llama_cpp_rows.read, llama_cpp_rows.measures, llama_cpp_rows.NEEDS)
_EXLLAMA = Family("exllama", "ExLlamaV2 and ExLlamaV3", exllama_rows.read, exllama_rows.measures)

# The first whose word fits reads a row. Another engine is one more line here, and a module like vllm_rows.
FAMILIES: tuple[Family, ...] = (
    Family("vllm", "vLLM", vllm_rows.read, vllm_rows.measures),
    _KTRANSFORMERS._replace(word="sglang (ktransformers"),
    Family("sglang", "SGLang", sglang_rows.read, sglang_rows.measures),
    *(_LLAMA_CPP._replace(word=word) for word in llama_cpp_rows.CARRIERS),
    *(Family(word, "not known", _unknown, vllm_rows.measures) for word in _UNKNOWN),
    _EXLLAMA,
    _KTRANSFORMERS,
    Family("ipex-llm", "IPEX-LLM", ipex_rows.read, ipex_rows.measures),
    Family("transformers", "Transformers", transformers_rows.read, transformers_rows.measures, transformers_rows.NEEDS),
)


class Rows(NamedTuple):
    """Judged rows by the title of their family, and the rows that were not, with the reason."""

    judged: dict[str, tuple[Judged, ...]]
    unjudged: tuple[Unjudged, ...]


def field_rows() -> Rows:
    """The field log."""
    return judged_rows(FIELD_LOGS)


def official_rows() -> Rows:
    """The tables that projects published."""
    return judged_rows(OFFICIAL_TABLES)


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
        found = judge(asked, family.measures, family.needs)
        if isinstance(found, Judged):
            judged[family.title].append(found)
        else:
            unjudged.append(found)
    return Rows(judged={title: tuple(items) for title, items in judged.items()}, unjudged=tuple(unjudged))
