"""The Grafana dashboards, described once; `python ops/grafana/dashboards.py` writes their JSON.

A panel is a title, a unit, what a bad reading means, and its queries. Rows follow the data: in,
commit, state, out. Every expression is parsed and every metric looked up by the tests; every SQL
statement is run on the engine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
GRID_COLUMNS = 24
PANEL_HEIGHT = 8
PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
CLICKHOUSE = {"type": "grafana-clickhouse-datasource", "uid": "${datasource}"}


@dataclass(frozen=True)
class Panel:
    """``queries``: (legend, expression or SQL). ``per_row``: how many share a row."""

    title: str
    unit: str
    bad: str
    queries: Sequence[tuple[str, str]]
    kind: str = "timeseries"
    per_row: int = 3


@dataclass(frozen=True)
class Dashboard:
    """``variables``: (name, query); ``rows``: title and panels each."""

    uid: str
    title: str
    rows: Sequence[tuple[str, Sequence[Panel]]]
    variables: Sequence[tuple[str, str]] = ()
    source: dict[str, str] = field(default_factory=lambda: PROMETHEUS)


RATE = "[$__rate_interval]"


def _quantiles(metric: str, by: str) -> list[tuple[str, str]]:
    """Median, 95th and 99th percentile of a histogram."""
    inner = (
        f"sum by (le, {by}) (rate({metric}_bucket{RATE}))"
        if by
        else (f"sum by (le) (rate({metric}_bucket{RATE}))")
    )
    label = f"{{{{{by}}}}} " if by else ""
    return [(f"{label}p{q}", f"histogram_quantile(0.{q}, {inner})") for q in (50, 95, 99)]


OVERVIEW = Dashboard(
    "dia-overview",
    "dia overview",
    [
        (
            "What users are promised",
            [
                Panel(
                    "Budget burn, 1 h",
                    "none",
                    "1 spends exactly the month's budget; 14.4 pages.",
                    [("{{slo}}", "dia:slo_errors:ratio_rate1h / on (slo) dia:slo_budget:ratio")],
                    "stat",
                    2,
                ),
                Panel(
                    "Budget burn, 3 d",
                    "none",
                    "Above 1 the month will not last.",
                    [("{{slo}}", "dia:slo_errors:ratio_rate3d / on (slo) dia:slo_budget:ratio")],
                    "stat",
                    2,
                ),
            ],
        ),
        (
            "In",
            [
                Panel(
                    "Records",
                    "cps",
                    "Read far above applied: duplicates or dead letters.",
                    [
                        ("read", f"sum(rate(dia_records_read_total{RATE}))"),
                        ("applied", f"sum(rate(dia_records_applied_total{RATE}))"),
                        ("duplicates", f"sum(rate(dia_duplicates_total{RATE}))"),
                        ("dead letters", f"sum(rate(dia_dead_letters_total{RATE}))"),
                    ],
                ),
                Panel(
                    "Lag",
                    "short",
                    "Rising for a quarter of an hour: see DiaFallsBehind.",
                    [("{{topic}}", "sum by (topic) (dia_lag_records)")],
                ),
                Panel(
                    "Dead letters by cause",
                    "cps",
                    "A new cause is a producer's deploy.",
                    [
                        (
                            "{{topic}} {{error_code}}",
                            f"sum by (topic, error_code) (rate(dia_dead_letters_total{RATE}))",
                        )
                    ],
                ),
            ],
        ),
        (
            "Out",
            [
                Panel(
                    "Freshness",
                    "s",
                    "Above 10 s a row breaks its promise.",
                    _quantiles("dia_freshness_seconds", ""),
                ),
                Panel(
                    "Rows acknowledged",
                    "cps",
                    "A shard at zero: see DiaShardAway.",
                    [("shard {{shard}}", f"sum by (shard) (rate(dia_sink_rows_total{RATE}))")],
                ),
                Panel(
                    "Partitions",
                    "short",
                    "Any but ready, for long: see DiaRestoreStuck.",
                    [
                        ("{{state}}", "sum by (state) (dia_partition_state)"),
                        ("expected", "dia:partitions_expected:count"),
                    ],
                ),
            ],
        ),
        (
            "Processes",
            [
                Panel(
                    "CPU",
                    "none",
                    "At one core a process is full: add processes.",
                    [("{{instance}}", f'rate(process_cpu_seconds_total{{job=~".*dia.*"}}{RATE})')],
                ),
                Panel(
                    "Memory",
                    "bytes",
                    "Near the limit the kernel kills; state is then restored.",
                    [("{{instance}}", 'process_resident_memory_bytes{job=~".*dia.*"}')],
                ),
                Panel(
                    "Event loop's age",
                    "s",
                    "Above 60: see DiaHeartbeatStale.",
                    [("{{instance}}", "time() - dia_loop_heartbeat_timestamp_seconds")],
                ),
                Panel(
                    "Versions",
                    "short",
                    "Two for an hour: a rollout stands still.",
                    [("{{version}}", "count by (version) (dia_build_info)")],
                    per_row=1,
                ),
            ],
        ),
    ],
)

PARTITIONS = Dashboard(
    "dia-partitions",
    "dia partitions",
    [
        (
            "Progress",
            [
                Panel(
                    "Lag",
                    "short",
                    "One partition alone: a hot key or a stopped partition.",
                    [
                        (
                            "{{topic}}/{{partition}}",
                            'max by (topic, partition) (dia_lag_records{topic=~"$topic"})',
                        )
                    ],
                ),
                Panel(
                    "Event time behind",
                    "s",
                    "Windows close this much later.",
                    [
                        (
                            "{{topic}}/{{partition}}",
                            'max by (topic, partition) (dia_event_time_lag_seconds{topic=~"$topic"})',
                        )
                    ],
                ),
                Panel(
                    "Records read",
                    "cps",
                    "Uneven: keys that are too few.",
                    [
                        (
                            "{{topic}}/{{partition}}",
                            f'sum by (topic, partition) (rate(dia_records_read_total{{topic=~"$topic"}}{RATE}))',
                        )
                    ],
                ),
            ],
        ),
        (
            "Commits",
            [
                Panel(
                    "Commits",
                    "cps",
                    "Zero beside lag: see DiaCommitsStall.",
                    [
                        (
                            "{{topic}}/{{partition}}",
                            f'sum by (topic, partition) (rate(dia_commits_total{{topic=~"$topic"}}{RATE}))',
                        )
                    ],
                ),
                Panel(
                    "Time of a step",
                    "s",
                    "C3 waits for the broker, C4 for the disk.",
                    _quantiles("dia_commit_seconds", "step"),
                ),
                Panel(
                    "Abandoned",
                    "cps",
                    "Each costs a restore; see DiaCommitsFail.",
                    [("{{code}}", f"sum by (code) (rate(dia_commit_failures_total{RATE}))")],
                ),
            ],
        ),
        (
            "Ownership",
            [
                Panel(
                    "Not ready",
                    "short",
                    "Stopped needs an operator: see DiaPartitionStopped.",
                    [
                        (
                            "{{topic}}/{{partition}} {{state}}",
                            'dia_partition_state{topic=~"$topic",state!="ready"} == 1',
                        ),
                        (
                            "{{topic}}/{{partition}} by {{code}}",
                            'dia_partition_stopped{topic=~"$topic"}',
                        ),
                    ],
                    per_row=2,
                ),
                Panel(
                    "Assignments",
                    "short",
                    "More than ten in 15 minutes: see DiaRebalanceStorm.",
                    [("{{instance}}", "increase(dia_rebalances_total[15m])")],
                    per_row=2,
                ),
                Panel(
                    "Restoring",
                    "cps",
                    "Changelog records read; the rest of the log is still to come.",
                    [
                        (
                            "{{topic}}/{{partition}}",
                            f'sum by (topic, partition) (rate(dia_restore_records_total{{topic=~"$topic"}}{RATE}))',
                        )
                    ],
                    per_row=2,
                ),
                Panel(
                    "Time to ready",
                    "s",
                    "Grows with the changelog: see DiaChangelogLong.",
                    _quantiles("dia_restore_seconds", ""),
                    per_row=2,
                ),
            ],
        ),
    ],
    [("topic", "label_values(dia_lag_records, topic)")],
)

STATE = Dashboard(
    "dia-state",
    "dia state",
    [
        (
            "What is remembered",
            [
                Panel(
                    "Live windows",
                    "short",
                    "Follows series; rising alone: the watermark stands.",
                    [
                        (
                            "{{topic}}/{{partition}}",
                            'max by (topic, partition) (dia_live_windows{topic=~"$topic"})',
                        )
                    ],
                ),
                Panel(
                    "Bytes by table",
                    "bytes",
                    "Follows live state, never history.",
                    [("{{table}}", 'sum by (table) (dia_state_bytes{topic=~"$topic"})')],
                ),
                Panel(
                    "Pressure",
                    "percentunit",
                    "At 80 % a partition pauses: see DiaPressureHigh.",
                    [
                        (
                            "{{topic}}/{{partition}}",
                            'max by (topic, partition) (dia_pressure_ratio{topic=~"$topic"})',
                        )
                    ],
                ),
            ],
        ),
        (
            "What is owed and logged",
            [
                Panel(
                    "Unacknowledged",
                    "short",
                    "Rising: a shard is away or slow.",
                    [
                        (
                            "{{topic}}/{{partition}}",
                            'max by (topic, partition) (dia_unacked_rows{topic=~"$topic"})',
                        )
                    ],
                ),
                Panel(
                    "Changelog",
                    "bytes",
                    "Above five times the live bytes: see DiaChangelogLong.",
                    [
                        (
                            "{{topic}}/{{partition}} log",
                            'max by (topic, partition) (dia_changelog_log_bytes{topic=~"$topic"})',
                        ),
                        (
                            "{{topic}}/{{partition}} live",
                            'max by (topic, partition) (dia_changelog_live_bytes{topic=~"$topic"})',
                        ),
                    ],
                ),
                Panel(
                    "Paused",
                    "short",
                    "For ten minutes: see DiaPartitionsPaused.",
                    [("{{group}}", "sum by (group) (dia_paused_partitions)")],
                ),
            ],
        ),
    ],
    [("topic", "label_values(dia_lag_records, topic)")],
)

SINK = Dashboard(
    "dia-sink",
    "dia sink",
    [
        (
            "Inserts",
            [
                Panel(
                    "Rows",
                    "cps",
                    "Repeats included: far above new windows, a shard forgets answers.",
                    [
                        (
                            "{{shard}} {{table}}",
                            f"sum by (shard, table) (rate(dia_sink_rows_total{RATE}))",
                        )
                    ],
                ),
                Panel(
                    "Time of an insert",
                    "s",
                    "p95 above 5 s: see DiaShardSlow.",
                    _quantiles("dia_sink_insert_seconds", "shard"),
                ),
                Panel(
                    "Waiting rows",
                    "short",
                    "At DIA_SINK_QUEUE_ROWS early rows are left out.",
                    [("shard {{shard}}", "sum by (shard) (dia_sink_queue_rows)")],
                ),
            ],
        ),
        (
            "Refusals",
            [
                Panel(
                    "Errors",
                    "cps",
                    "All repeated; alone, without rows: see DiaShardAway.",
                    [
                        (
                            "{{shard}} {{code}}",
                            f"sum by (shard, code) (rate(dia_sink_errors_total{RATE}))",
                        )
                    ],
                ),
                Panel(
                    "Rows refused for good",
                    "short",
                    "Each is a dead letter: see DiaRowsRefused.",
                    [("{{table}}", "sum by (table) (increase(dia_rows_refused_total[1h]))")],
                ),
                Panel(
                    "Roll-ups",
                    "cps",
                    "Refused: minutes have expired, see DiaRollUpsRefused.",
                    [
                        ("{{table}}", f"sum by (table) (rate(dia_rollups_total{RATE}))"),
                        (
                            "{{table}} refused",
                            f"sum by (table) (rate(dia_rollups_refused_total{RATE}))",
                        ),
                    ],
                ),
            ],
        ),
    ],
)

_WHERE = (
    "WHERE $__timeFilter(w) AND tenant = '${tenant}' AND metric = '${metric}' "
    "AND model IN (${model:singlequote})"
)

BUSINESS = Dashboard(
    "dia-business",
    "dia figures",
    [
        (
            "The metric",
            [
                Panel(
                    "Count",
                    "short",
                    "A gap: no events, or late ones still to come.",
                    [
                        (
                            "",
                            f"SELECT $__timeInterval(w) AS time, model, sum(n) AS count FROM ${{table}} {_WHERE} "
                            "GROUP BY time, model ORDER BY time",
                        )
                    ],
                    per_row=2,
                ),
                Panel(
                    "Mean and deviation",
                    "short",
                    "Deviation far above the mean: look at the distribution.",
                    [
                        (
                            "",
                            "SELECT $__timeInterval(w) AS time, model, sum(s1) / sum(n) AS mean, "
                            "sqrt(greatest(0, sum(s2) / sum(n) - pow(sum(s1) / sum(n), 2))) AS deviation "
                            f"FROM ${{table}} {_WHERE} GROUP BY time, model ORDER BY time",
                        )
                    ],
                    per_row=2,
                ),
                Panel(
                    "Smallest, largest",
                    "short",
                    "Outliers: the band, not the mean, shows them.",
                    [
                        (
                            "",
                            "SELECT $__timeInterval(w) AS time, model, min(lo) AS smallest, max(hi) AS largest "
                            f"FROM ${{table}} {_WHERE} GROUP BY time, model ORDER BY time",
                        )
                    ],
                    per_row=2,
                ),
                Panel(
                    "Percentiles",
                    "short",
                    "Each within 1 % of the exact value.",
                    [
                        (
                            "",
                            "SELECT time, ${database}.sk_val(q[1]) AS p50, ${database}.sk_val(q[2]) AS p95, "
                            "${database}.sk_val(q[3]) AS p99 FROM (SELECT $__timeInterval(w) AS time, "
                            "quantilesExactWeightedArray(0.5, 0.95, 0.99)(sk_k, sk_n) AS q "
                            f"FROM ${{table}} {_WHERE} GROUP BY time) ORDER BY time",
                        )
                    ],
                    per_row=2,
                ),
                Panel(
                    "Distribution",
                    "short",
                    "Two bands: two populations under one name.",
                    [
                        (
                            "",
                            "SELECT $__timeInterval(w) AS time, ${database}.sk_val(k) AS le, sum(c) AS count "
                            f"FROM ${{table}} ARRAY JOIN sk_k AS k, sk_n AS c {_WHERE} "
                            "GROUP BY time, k ORDER BY time, k",
                        )
                    ],
                    "heatmap",
                    1,
                ),
            ],
        ),
        (
            "The pipeline, as its tables tell",
            [
                Panel(
                    "Dead letters of the tenant",
                    "short",
                    "Mend the producer, then replay.",
                    [
                        (
                            "",
                            "SELECT ts AS time, error_code, stage, topic, part, off, error_message, disposition "
                            "FROM ${database}.dead_letters WHERE $__timeFilter(ts) AND tenant = '${tenant}' "
                            "ORDER BY ts DESC LIMIT 200",
                        )
                    ],
                    "table",
                    2,
                ),
                Panel(
                    "Ledger",
                    "short",
                    "read = applied + duplicates + dead, always.",
                    [
                        (
                            "",
                            "SELECT grp, topic, part, epoch, next_offset, read, applied, duplicates, dead, gaps, at "
                            "FROM ${database}.ledger ORDER BY grp, topic, part, epoch",
                        )
                    ],
                    "table",
                    2,
                ),
            ],
        ),
    ],
    [
        ("database", "dia"),
        ("table", "${database}.m1,${database}.h1,${database}.d1"),
        ("tenant", "SELECT DISTINCT tenant FROM ${database}.h1 ORDER BY tenant"),
        (
            "metric",
            "SELECT DISTINCT metric FROM ${database}.h1 WHERE tenant = '${tenant}' ORDER BY metric",
        ),
        (
            "model",
            "SELECT DISTINCT model FROM ${database}.h1 WHERE tenant = '${tenant}' "
            "AND metric = '${metric}' ORDER BY model",
        ),
    ],
    CLICKHOUSE,
)

ALL = (OVERVIEW, PARTITIONS, STATE, SINK, BUSINESS)
_CHOSEN_BY_HAND = {"database": "constant", "table": "custom"}


def render(dashboard: Dashboard) -> dict[str, Any]:
    """Grafana's JSON model of one dashboard."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["dia"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": list(_variables(dashboard))},
        "panels": list(_panels(dashboard)),
    }


def _variables(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    kind = dashboard.source["type"]
    yield {"name": "datasource", "type": "datasource", "query": kind, "label": "Data source"}
    for name, query in dashboard.variables:
        chosen = _CHOSEN_BY_HAND.get(name, "query")
        several = name in {"topic", "model"}
        # An "all" that is a pattern is Prometheus's; in SQL it is the list of all values.
        every = {"allValue": ".*"} if kind == "prometheus" else {}
        yield {
            "name": name,
            "label": name,
            "type": chosen,
            "query": query,
            **(
                {"current": {"text": "m1", "value": "${database}.m1"}} if chosen == "custom" else {}
            ),
            **({"datasource": dashboard.source, "refresh": 2} if chosen == "query" else {}),
            **({"multi": True, "includeAll": True, **every} if several else {}),
        }


def _panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for title, panels in dashboard.rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "gridPos": {"x": 0, "y": top, "w": GRID_COLUMNS, "h": 1},
        }
        top, left = top + 1, 0
        for panel in panels:
            number += 1
            width = GRID_COLUMNS // panel.per_row
            if left + width > GRID_COLUMNS:
                top, left = top + PANEL_HEIGHT, 0
            place = {"x": left, "y": top, "w": width, "h": PANEL_HEIGHT}
            yield _panel(panel, number, place, dashboard.source)
            left += width
        top += PANEL_HEIGHT


def _panel(
    panel: Panel, number: int, place: dict[str, int], source: dict[str, str]
) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.bad,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        **({"interval": "1m"} if source is CLICKHOUSE else {}),
        "targets": [
            _target(letter, query, panel.kind, source)
            for letter, query in zip("ABCDEF", panel.queries, strict=False)
        ],
    }


def _target(
    letter: str, query: tuple[str, str], kind: str, source: dict[str, str]
) -> dict[str, Any]:
    legend, text = query
    if source is CLICKHOUSE:
        form = {"table": 1, "heatmap": 2}.get(kind, 0)
        return {
            "refId": letter,
            "datasource": source,
            "editorType": "sql",
            "format": form,
            "queryType": {1: "table"}.get(form, "timeseries"),
            "rawSql": text,
        }
    return {"refId": letter, "datasource": source, "expr": text, "legendFormat": legend}


def text_of(dashboard: Dashboard) -> str:
    """The committed file's content."""
    return json.dumps(render(dashboard), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for one in ALL:
        (FOLDER / f"{one.uid}.json").write_text(text_of(one))
