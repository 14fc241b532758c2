"""A Grafana dashboard over the metrics of ``ullage watch --prometheus`` and of the guard of ``ullage serve``, as values."""

from ullage.domain.hyperparameters import Json

_WIDTH, _HEIGHT, _COLUMNS = 12, 8, 2
# Title, unit, and each query with its legend.
_PANELS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("Alarms", "short", (("ullage_alarm", "{{kind}} {{subject}}"), ("1 - ullage_up", "engine down"))),
    ("Cache pool", "percentunit", (("ullage_pool_usage_ratio", "used"),)),
    (
        "Requests",
        "short",
        (
            ("ullage_requests_running", "running"),
            ("ullage_requests_waiting", "waiting"),
            ("ullage_requests_queued", "of them in the guard"),
            ("rate(ullage_preemptions_total[1m])", "preemptions a second"),
        ),
    ),
    ("Full in", "s", (("ullage_full_in_seconds", "{{subject}}"),)),
    (
        "Device memory",
        "bytes",
        (
            ("ullage_device_used_bytes", "{{device}} used"),
            ("ullage_device_engine_bytes", "{{device}} engine"),
            ("ullage_promised_peak_bytes", "{{device}} promised {{bound}}"),
            ("ullage_device_total_bytes", "{{device}} total"),
        ),
    ),
    (
        "Parts",
        "bytes",
        (("ullage_seen_bytes", "{{device}} {{part}} seen"), ('ullage_promised_bytes{bound="expected"}', "{{device}} {{part}} promised")),
    ),
    ("Pool size in tokens", "short", (("ullage_pool_tokens", "seen"), ("ullage_pool_promised_tokens", "promised {{bound}}"))),
    ("How busy", "percentunit", (("ullage_device_utilisation_ratio", "{{device}}"),)),
    (
        "Engine's host memory",
        "bytes",
        (("ullage_process_bytes", "{{kind}}"), ("ullage_group_current_bytes", "group"), ("ullage_group_limit_bytes", "group limit")),
    ),
    (
        "Host",
        "bytes",
        (
            ("ullage_host_available_bytes", "available"),
            ("ullage_host_swap_used_bytes", "swap"),
            ("rate(ullage_host_swapped_out_bytes_total[1m])", "swapped out a second"),
            ("rate(ullage_host_swapped_in_bytes_total[1m])", "swapped in a second"),
        ),
    ),
    ("Stalled on memory", "percentunit", (("ullage_host_pressure_ratio", "{{tasks}} tasks"),)),
    (
        "Guard: requests",
        "short",
        (
            ("ullage_guard_in_flight_requests", "in flight"),
            ("ullage_guard_in_flight_sequences", "sequences in flight"),
            ("ullage_guard_allowed_sequences", "sequences allowed"),
            ("ullage_guard_waiting_requests", "waiting"),
            ("ullage_guard_engine_up", "engine up"),
        ),
    ),
    ("Guard: cache", "bytes", (("ullage_guard_reserved_bytes", "reserved"), ("ullage_guard_pool_bytes", "pool"))),
    (
        "Guard: ends a second",
        "short",
        (
            ("rate(ullage_guard_requests_total[1m])", "{{end}}"),
            ("rate(ullage_guard_replays_total[1m])", "sent again"),
            ("rate(ullage_guard_ahead_total[1m])", "let in by the forecast"),
        ),
    ),
    ("Guard: tokens a second", "short", (("rate(ullage_guard_tokens_total[1m])", "{{of}}"),)),
    (
        "Guard: time in the queue",
        "s",
        (
            ("histogram_quantile(0.5, sum by (le) (rate(ullage_guard_queue_seconds_bucket[5m])))", "half within"),
            ("histogram_quantile(0.99, sum by (le) (rate(ullage_guard_queue_seconds_bucket[5m])))", "99 % within"),
        ),
    ),
)


def dashboard() -> dict[str, Json]:
    """The dashboard in Grafana's own form."""
    return {
        "title": "Ullage",
        "uid": "ullage-watch",
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "tags": ["ullage", "llm", "memory"],
        "templating": {"list": [{"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"}]},
        "panels": [_panel(number, *panel) for number, panel in enumerate(_PANELS)],
    }


def _panel(number: int, title: str, unit: str, queries: tuple[tuple[str, str], ...]) -> Json:
    source: Json = {"type": "prometheus", "uid": "${source}"}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": source,
        "gridPos": {"x": number % _COLUMNS * _WIDTH, "y": number // _COLUMNS * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "table", "placement": "right", "calcs": ["lastNotNull", "max"]}},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": source, "expr": query, "legendFormat": legend}
            for index, (query, legend) in enumerate(queries)
        ],
    }
