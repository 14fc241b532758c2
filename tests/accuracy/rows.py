"""Measured rows: what people reported of one run, or of one failure, each column as text and empty where the report is silent.

Sizes are in GiB. ``weights_gib``, ``activation_peak_gib``, ``non_torch_gib``, ``cuda_graph_gib`` and ``kv_cache_gib`` are what the engine's
own log says of one device, unless ``scope`` says otherwise. ``total_used_gib`` is the whole use where the parts are not known.
``error_kind`` is empty for a run that worked.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DATA = Path(__file__).parent.parent / "data"
FIELD_LOGS, OFFICIAL_TABLES = DATA / "field_logs.csv", DATA / "official_tables.csv"

# Kinds of reports that a plan should have foreseen as "it will not work so".
FAILURES = ("refused", "oom_", "vram_spill")
# Kinds that are neither a failure nor a plain success: somebody's expectation, another cause, or a run that was already changed.
OTHER_KINDS = (
    "fit_",
    "host_overuse",
    "kv_overadvertised",
    "kv_too_small",
    "not_memory",
    "over_estimate",
    "under_estimate",
    "util_not_respected",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One report."""

    cells: tuple[tuple[str, str], ...]

    def text(self, column: str) -> str:
        """The cell, without spaces around it; empty when the report is silent. Raises KeyError for an unknown column."""
        for name, value in self.cells:
            if name == column:
                return value.strip()
        raise KeyError(column)

    def number(self, column: str) -> float | None:
        """The cell as a number, or None when it holds none."""
        try:
            return float(self.text(column).replace(",", ""))
        except ValueError:
            return None

    def whole(self, column: str) -> int | None:
        """The cell as a whole number, or None."""
        value = self.number(column)
        return int(value) if value is not None else None

    def flag(self, column: str) -> bool | None:
        """True, False, or None when the report is silent."""
        return {"true": True, "false": False}.get(self.text(column).lower())

    @property
    def id(self) -> str:
        """The row's name."""
        return self.text("id")

    @property
    def failed(self) -> bool:
        """Whether the report is of a failure for want of memory."""
        return self.text("error_kind").startswith(FAILURES)

    @property
    def ran(self) -> bool:
        """Whether the report is of a plain success."""
        return not self.text("error_kind")


@cache
def read_rows(path: Path) -> tuple[Row, ...]:
    """Every row of a file, in its order."""
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(Row(tuple((name, value or "") for name, value in cells.items())) for cells in csv.DictReader(file))
