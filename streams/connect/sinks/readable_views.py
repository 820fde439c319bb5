"""The views ``minutes``, ``hours`` and ``days``: windows with plain names, one row each, a comment on every
column. Partitions and incarnations of a window are combined as `streams.connect.sinks.series` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streams.connect.sinks.percentiles import QUANTILES, percentile_sql
from streams.core.rows import deviations
from streams.core.rows.built_in_tables import WindowTable
from streams.core.rows.clickhouse_table import quoted

READABLE: Final[Mapping[str, WindowTable]] = {"minutes": "m1", "hours": "h1", "days": "d1"}

_NAME: Final = "LowCardinality(String)"
COLUMNS: Final[Mapping[str, tuple[str, str]]] = {
    "tenant": (_NAME, "tenant_id of the events"),
    "model": (_NAME, "model_id of the events"),
    "metric": (_NAME, "name of the metric"),
    "window_start": ("DateTime('UTC')", "start of the window, in event time, UTC"),
    "events": ("UInt64", "number of events, each counted once"),
    "mean": ("Float64", "mean of the values"),
    "sd": ("Float64", "standard deviation of the values, over all of them"),
    "min": ("Float64", "smallest value"),
    "max": ("Float64", "largest value"),
    "last": ("Float64", "value with the newest event time"),
    "p50": ("Float64", "median, within 1 %"),
    "p95": ("Float64", "95th percentile, within 1 %"),
    "p99": ("Float64", "99th percentile, within 1 %"),
}
"""type and comment of each column"""

_SQL: Final = """
CREATE OR REPLACE VIEW {database}.{view}
({columns})
AS SELECT
    tenant, model, metric, w AS window_start, total AS events, joint AS mean,
    sqrt(spread / total) AS sd, low AS min, high AS max, last,
    p[1] AS p50, p[2] AS p95, p[3] AS p99
FROM
(
    SELECT *, arrayMap((share, code) -> {quantile}, {shares}, codes) AS p
    FROM
    (
        SELECT *, {mean} AS joint, {m2} AS spread
        FROM
        (
            SELECT
                tenant, model, metric, w, {parts},
                min(lo) AS low, max(hi) AS high, argMax(lv, (lt, inc)) AS last,
                quantilesExactWeightedArray({weights})(sk_k, sk_n) AS codes
            FROM {database}.{table}
            GROUP BY tenant, model, metric, w
        )
    )
)
COMMENT {comment};
"""


def readable_views(database: str, taken: frozenset[str]) -> str:
    """The statements, but for names that are ``taken`` by tables of the app."""
    return "\n".join(
        _SQL.format(
            database=database,
            view=view,
            table=table,
            columns=", ".join(
                f"{name} {kind} COMMENT {quoted(comment)}"
                for name, (kind, comment) in COLUMNS.items()
            ),
            quantile=percentile_sql(),
            shares=list(QUANTILES),
            **deviations.SQL,
            weights=", ".join(map(str, QUANTILES)),
            comment=quoted(f"Windows of {table}, one row each. Every shard's rows."),
        )
        for view, table in READABLE.items()
        if view not in taken
    )
