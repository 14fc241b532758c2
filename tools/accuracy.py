"""Writes docs/accuracy.md: predictions against measured rows, engine by engine, with the worst rows and the rows that were not judged."""

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # the rows and their readers are part of the tests

from tests.accuracy.diagnosed_rows import Judged as Diagnosed  # noqa: E402 - after the path is set
from tests.accuracy.diagnosed_rows import judged_fragments, judged_wholes, share  # noqa: E402 - as above
from tests.accuracy.judged_rows import Rows, field_rows, official_rows  # noqa: E402 - after the path is set
from tests.accuracy.remarks import GOALS, REMARKS  # noqa: E402 - as above
from tests.accuracy.scores import Comparison, Judged, Summary, Verdicts, summarise, verdicts  # noqa: E402 - as above

QUANTITIES = {
    "weights": "weights, as the log prints them; of vLLM and SGLang those of one rank, with tables",
    "activations": "peak of the start-up profile",
    "non-torch": "memory outside PyTorch that grows within the budget",
    "outside": "in use before the first snapshot",
    "graphs": "CUDA graphs",
    "KV bytes": "the cache; of vLLM what is left for it",
    "KV blocks": "blocks of the cache",
    "KV tokens": "tokens of the cache, as that release counts them",
    "bytes a token": "bytes of the cache by its tokens",
    "compute buffer": "the device's compute buffer",
    "host": "buffers or memory of the host, as the report means them",
    "logged total": "weights, cache and compute buffer together",
    "total": "the whole use that the report states",
}
SILENCE = {
    "gpu_memory_utilization": "its utilisation",
    "max_model_len": "its length",
    "max_num_batched_tokens": "its batch",
    "max_num_seqs": "its sequences",
    "gpu_mem_gib_reported": "the card's memory",
    "scheme": "its exact quantisation",
    "version": "its release",
}
WORST, LONGEST_NOTE = 10, 150
HEAD = """# Accuracy

Predictions of this version against what people measured: {rows} reports of `tests/data/field_logs.csv` and {tabled} rows of tables that
projects published (`official_tables.csv`), read into questions by general rules (`tests/accuracy/`). No rule knows a row. A relative
error is predicted less measured, by the measured; *covered* is the share of measurements inside the predicted range. *Settled* reports
state the release, the quantisation, the utilisation and the length, or their defaults are certain; the others are judged with the
defaults and a range that spans what people set instead. Where the parts of a budget that a report states do not make that budget within
one percent, its cache and activations are not compared.
"""


def render() -> str:
    """The page."""
    rows, tables = field_rows(), official_rows()
    parts = [HEAD.format(rows=_count(rows), tabled=_count(tables)), GOALS]
    parts += [_engine(title, judged) for title, judged in rows.judged.items() if judged]
    parts += [_engine(f"{title}, published tables", judged) for title, judged in tables.judged.items() if judged]
    parts.append(_diagnoses())
    parts.append(_not_judged("Reports not judged", rows))
    parts.append(_not_judged("Rows of published tables not judged", tables))
    return "\n".join(parts)


DIAGNOSES = """## Diagnosed logs

What `ullage diagnose` says of the failing reports. A *whole log* is the report's own words inside what that engine prints on its way to
such a failure (`tests/accuracy/logs_of_rows.py`; the traceback follows from the kind that the report names); the *quoted words alone* are
what the thread quotes or tells, and nothing else. The class is that of the report's kind, the term is judged where the kind names one, the
fix where the thread names a setting. The logs were written with these rows in view; no rule knows a row.
"""


def _diagnoses() -> str:
    """How many failing reports are diagnosed right."""

    def row(title: str, judged: tuple[Diagnosed, ...]) -> tuple[str, ...]:
        answers = (
            share(one.is_class_right for one in judged),
            share(one.is_term_right for one in judged),
            share(one.is_fix_among_three for one in judged),
        )
        return (title, *(f"{right} of {told} ({right / told:.0%})" for right, told in answers))

    rows = (row("whole logs", judged_wholes()), row("the quoted words alone", judged_fragments()))
    return DIAGNOSES + "\n" + _table(("what is read", "class right", "term right", "the thread's fix among the first three"), rows)


def _count(rows: Rows) -> int:
    return sum(len(found) for found in rows.judged.values()) + len(rows.unjudged)


def _engine(title: str, judged: tuple[Judged, ...]) -> str:
    comparisons = [item for one in judged if not one.asked.rough for item in one.comparisons]
    settled = [item for item in comparisons if item.settled]
    return "\n".join(
        (
            f"## {title}\n\n{len(judged)} rows judged.\n" + (f"\n{REMARKS[title]}\n" if title in REMARKS else ""),
            "### Settled rows\n",
            _figures(settled),
            "### All rows\n",
            _figures(comparisons),
            _verdicts(verdicts(judged)),
            f"### The worst rows, {WORST} at most\n\nOne line a row, by its largest error beyond the predicted range.\n",
            _worst(comparisons),
        )
    )


def _figures(comparisons: list[Comparison]) -> str:
    found = [summarise(quantity, comparisons) for quantity in QUANTITIES]
    rows = (
        (item.quantity, QUANTITIES[item.quantity], str(item.count), _percent(item.median), _percent(item.p90), _share(item))
        for item in found
        if item.count
    )
    return _table(("quantity", "what it is", "n", "median error", "90th percentile", "covered"), rows)


def _verdicts(found: Verdicts) -> str:
    refused = f"and the engine is said to refuse {len(found.refused)} more:"
    missed, refused = _ids(found.missed), f"{refused} {_ids(found.refused)}"
    plain = f"with every default alone, {len(found.missed_plainly)} failures would be missed and {len(found.strict_plainly)} runs ruled out"
    lines = [
        "### Verdicts\n",
        "What a report leaves open is varied: a failure counts as foreseen if any variant is not called fitting, a run as ruled out",
        f"only if every variant is; {plain}.\n",
        f"- {found.failures} failures: {_percent(found.recall, 0)} are foreseen (refused, does not fit, or tight). Missed: {missed}",
        *(f"  - {_name(item)}: {item.row.text('error_kind')}. {_why(item.row.text('notes'), frozenset())}" for item in found.missed),
        f"- {found.runs} runs: {len(found.too_strict)} are called impossible ({_percent(found.false_alarms, 1)}), {refused}",
        *(f"  - {_name(item)}: {item.outcome.binding}" for item in found.refused),
    ]
    if found.aside:
        lines.append(f"- {len(found.aside)} set aside, as the report does not tell the card, the placement or the host it is about:")
        lines += [
            f"  - {_name(item)}: {item.row.text('error_kind') or 'ran'}; a stand-in gives {item.outcome.verdict}" for item in found.aside
        ]
    return "\n".join(lines) + "\n"


def _ids(items: tuple[Judged, ...]) -> str:
    return ", ".join(item.row.id for item in items) or "none"


def _name(item: Judged) -> str:
    return f"{item.row.id}, {item.row.text('model')} with {item.asked.engine.profile.title} {item.asked.case.version}"


def _worst(comparisons: list[Comparison]) -> str:
    by_row: dict[str, Comparison] = {}
    for item in sorted(comparisons, key=lambda item: (item.covered, -abs(item.error))):
        by_row.setdefault(item.row.id, item)
    rows = (
        (
            item.row.id,
            f"{item.row.text('model')}, {item.row.text('engine_version') or item.row.text('date')}, {item.row.text('gpu')}",
            item.quantity,
            f"{item.error * 100:+.0f} %",
            _why(item.row.text("notes"), item.silent),
        )
        for item in list(by_row.values())[:WORST]
    )
    return _table(("row", "report", "quantity", "error", "why"), rows)


def _why(notes: str, silent: frozenset[str]) -> str:
    """What the report leaves out, and what its collector noted."""
    missing = [SILENCE[name] for name in sorted(silent) if name in SILENCE]
    said = f"the report does not say {', '.join(missing)}" if missing else ""
    plain = re.sub(r"\s+", " ", notes)
    note = plain if len(plain) <= LONGEST_NOTE else plain[: LONGEST_NOTE - 3].rpartition(" ")[0] + " ..."
    return "; ".join(part for part in (said, note) if part) or "not explained"


def _not_judged(title: str, rows: Rows) -> str:
    counted = Counter(re.sub(r":.*", "", item.why) for item in rows.unjudged)
    names = Counter(item.row.text("engine") for item in rows.unjudged if item.why.startswith("engine not known"))
    listed = ", ".join(f"{name} {count}" for name, count in names.most_common())
    table = _table(("reason", "reports"), ((why, str(count)) for why, count in counted.most_common()))
    return f"## {title}\n\n{table}" + (f"\nEngines not known: {listed}.\n" if listed else "")


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    def lines() -> Iterator[str]:
        yield line(header)
        yield "|" + " --- |" * len(header)
        yield from (line(row) for row in rows)

    return "\n".join(lines()) + "\n"


def _percent(share: float, digits: int = 2) -> str:
    return f"{share * 100:.{digits}f} %"


def _share(item: Summary) -> str:
    return _percent(item.coverage, 0)


NOTE = "<!-- written by tools/make_docs.py; `make docs` writes it again -->\n\n"


def main() -> None:
    """Write the page as `make docs` does."""
    (ROOT / "docs" / "accuracy.md").write_text(NOTE + render(), encoding="utf-8")


if __name__ == "__main__":
    main()
