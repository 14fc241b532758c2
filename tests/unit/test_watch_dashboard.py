"""The dashboard asks for metrics that there are, and the shipped file is the one that is made."""

import json
import re
from pathlib import Path

from ullage.domain.guard import SERIES
from ullage.report.watch_dashboard import dashboard
from ullage.report.watch_metrics import METRICS

SHIPPED = Path(__file__).parent.parent.parent / "docs" / "grafana.json"
# A series that only sums another up, and totals that stand beside a share.
NOT_SHOWN = {"ullage_alarms", "ullage_device_free_bytes"}
NAMES = {metric.name: set(metric.labels) for metric in METRICS}
GUARDS = {f"{one.name}_bucket" if one.kind == "histogram" else one.name: {one.label} for one in SERIES}


def asked() -> set[str]:
    queries = [target["expr"] for panel in json.loads(SHIPPED.read_text())["panels"] for target in panel["targets"]]
    return {name for query in queries for name in re.findall(r"ullage_\w+", query)}


def test_every_metric_of_the_dashboard_exists_and_every_metric_is_shown() -> None:
    assert asked() <= NAMES.keys() | GUARDS.keys()
    assert NAMES.keys() - asked() == NOT_SHOWN
    assert GUARDS.keys() <= asked()


def test_every_label_of_a_legend_and_of_a_query_is_one_of_its_metric() -> None:
    known = NAMES | GUARDS
    for panel in json.loads(SHIPPED.read_text())["panels"]:
        for target in panel["targets"]:
            (name,) = set(re.findall(r"ullage_\w+", target["expr"]))
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) | set(re.findall(r"(\w+)=", target["expr"]))
            assert used <= known[name], target


def test_the_shipped_dashboard_is_the_one_that_is_made() -> None:
    assert json.loads(SHIPPED.read_text()) == dashboard()


def test_counters_end_in_total_and_nothing_else_does() -> None:
    assert {metric.name for metric in METRICS if metric.kind == "counter"} == {
        metric.name for metric in METRICS if metric.name.endswith("_total")
    }
