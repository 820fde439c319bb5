"""Statistics of one series per time step, read from the shards that may have windows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streams.connect.sinks.percentiles import QUANTILES, percentiles
from streams.connect.sinks.series_merge import EXTRA
from streams.core.errors import UsageError
from streams.core.rows import deviations
from streams.core.rows.built_in_tables import WindowTable
from streams.core.rows.window_figures import FOREVER_S

HOUR_S = 3600
DAY_S = 86_400
MINUTES_RANGE_S = 2 * DAY_S
"""read from minutes, the freshest table; hours follow within a minute"""
HOURS_RANGE_S = 90 * DAY_S
HOURS_KEPT_S = 400 * DAY_S
STEPS_MAX = 11_000

COLUMNS = ("t", "count", "mean", "sd", "min", "max", "last", "p50", "p95", "p99")
"""``t`` is the start of the step (ISO 8601, UTC)."""

WIDTH_S: dict[WindowTable, int] = {"m1": 60, "h1": HOUR_S, "d1": DAY_S}

_SQL = """
SELECT step, total, joint, spread, low, high, last, codes{outer}
FROM
(
    SELECT *, {mean} AS joint, {m2} AS spread
    FROM
    (
        SELECT
            {step} AS step,
            {parts},
            min(lo) AS low, max(hi) AS high, argMax(lv, (lt, inc)) AS last,
            quantilesExactWeightedArray({weights})(sk_k, sk_n) AS codes{inner}
        FROM {table}_local FINAL
        WHERE n > 0 AND {which}
            AND w >= toDateTime({{start:UInt32}}, 'UTC') AND w < toDateTime({{stop:UInt32}}, 'UTC'){counted}
        GROUP BY step
    )
)
ORDER BY step
"""
"""Codes sort as values do: the weighted quantile of codes is the code of the value that numpy's
``inverted_cdf`` picks."""

_STEP = """{start:UInt32} + intDiv(toUnixTimestamp(w) - {start:UInt32}, {step:UInt32})
                * {step:UInt32}"""
_NAMES = ("tenant", "model", "metric")

_SKETCHED = {
    "outer": ", sketch.1, sketch.2, newest",
    "inner": ",\n        sumMap(sk_k, sk_n) AS sketch,"
    "\n        max((toUnixTimestamp64Milli(lt), inc)) AS newest",
}
_PLAIN = dict.fromkeys(_SKETCHED, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesQuery:
    """A half-open range of window starts, and a step; in epoch seconds."""

    tenant: str
    model: str
    metric: str
    start_s: int
    stop_s: int
    step_s: int

    @property
    def names(self) -> tuple[str, str, str]:
        return self.tenant, self.model, self.metric


def kept_seconds(retention_days: int) -> dict[WindowTable, int]:
    """How long each table certainly has its windows."""
    # Late windows of the two days before m1's retention go to h1 and d1 only.
    return {"m1": (retention_days - 2) * DAY_S, "h1": HOURS_KEPT_S, "d1": FOREVER_S}


def choose_table(query: SeriesQuery, now_s: float, retention_days: int) -> WindowTable:
    """Minutes while they are kept and few, else hours, else days, if the step allows. Raises
    `UsageError` when the range is empty, has too many steps, or is kept only by a table coarser
    than the step."""
    _refuse_senseless(query)
    age_s, range_s = now_s - query.start_s, query.stop_s - query.start_s
    minutes_s = kept_seconds(retention_days)["m1"]
    if age_s > HOURS_KEPT_S:
        return _at_least("d1", query, "are kept 400 days as hours, then as days")
    if query.step_s % DAY_S == 0 and range_s > HOURS_RANGE_S:
        return "d1"
    if age_s > minutes_s:
        return _at_least(
            "h1", query, f"are kept {minutes_s // DAY_S} days as minutes, then as hours"
        )
    if query.step_s % HOUR_S == 0 and range_s > MINUTES_RANGE_S:
        return "h1"
    return "m1"


def plain(rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Without the columns of ``parts``."""
    return [row[:-EXTRA] for row in rows]


def statement(
    query: SeriesQuery, table: WindowTable, *, parts: bool = False, counted: str = ""
) -> tuple[str, dict[str, Any]]:
    """SQL and parameters for a shard of the series; `steps` reads the result. ``counted``: the
    condition of `streams.connect.sinks.moved_rows` for this shard.

    With ``parts`` a row has the columns `EXTRA` too, and rows of several shards can be joined.
    """
    return _sql(_STEP, _NAMES, table, counted, parts=parts), _parameters(query, table)


def ranked(
    query: SeriesQuery, table: WindowTable, of: str, *, parts: bool = False, counted: str = ""
) -> tuple[str, dict[str, Any]]:
    """As `statement`, with a row for each value of ``of`` ("model" or "metric") in place of each step: over the
    whole range, whatever the query names for ``of``."""
    parameters = _parameters(query, table)
    del parameters[of], parameters["step"]
    names = tuple(name for name in _NAMES if name != of)
    return _sql(f"toString({of})", names, table, counted, parts=parts), parameters


def _sql(step: str, names: Sequence[str], table: WindowTable, counted: str, *, parts: bool) -> str:
    return _SQL.format(
        step=step,
        which=" AND ".join(f"{name} = {{{name}:String}}" for name in names),
        table=table,
        counted=counted,
        **deviations.SQL,
        weights=", ".join(map(str, QUANTILES)),
        **(_SKETCHED if parts else _PLAIN),
    )


def _parameters(query: SeriesQuery, table: WindowTable) -> dict[str, Any]:
    return {
        "tenant": query.tenant,
        "model": query.model,
        "metric": query.metric,
        "start": query.start_s // WIDTH_S[table] * WIDTH_S[table],
        "stop": query.stop_s,
        "step": query.step_s,
    }


def steps(rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """`COLUMNS`, with ``t`` in epoch seconds. A row: step, count, mean, sum of squared deviations, smallest,
    largest and last value, and the codes of `QUANTILES`."""
    if not rows:
        return []
    step, total, mean, m2, low, high, last, codes = zip(*rows, strict=True)
    sd = np.sqrt(np.array(m2) / np.array(total, float))
    shown = percentiles(total, mean, m2, low, high, codes)
    columns = (step, total, mean, sd.tolist(), low, high, last, *shown.T.tolist())
    return [*zip(*columns, strict=True)]


def _refuse_senseless(query: SeriesQuery) -> None:
    if query.step_s < 60 or query.step_s % 60:
        raise UsageError(f"--step {query.step_s} s is not a whole number of minutes.")
    if query.stop_s <= query.start_s:
        raise UsageError("--from is not before --to.")
    steps = (query.stop_s - query.start_s) / query.step_s
    if steps > STEPS_MAX:
        raise UsageError(f"{steps:,.0f} steps are more than {STEPS_MAX:,}: take a longer --step.")


def _at_least(table: WindowTable, query: SeriesQuery, kept: str) -> WindowTable:
    width_s = WIDTH_S[table]
    if query.step_s % width_s:
        raise UsageError(
            f"values {kept}; for so old a --from, --step must be a multiple of {width_s} s."
        )
    return table
