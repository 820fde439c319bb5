"""The view of windows that reopen: m1, h1 and d1, whose rows hold states that SQL merges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from streams.connect.sinks.moved_rows import counted
from streams.connect.sinks.percentiles import PERCENTILE_ERROR
from streams.connect.sinks.series import (
    COLUMNS,
    HOURS_RANGE_S,
    MINUTES_RANGE_S,
    WIDTH_S,
    SeriesQuery,
    choose_table,
    kept_seconds,
    plain,
    statement,
    steps,
)
from streams.connect.sinks.series_merge import EXTRA, joined
from streams.connect.sinks.shard_maps import KnownMaps
from streams.connect.sinks.window_views.ranking import RankingReading
from streams.connect.sinks.window_views.view import (
    Question,
    Rows,
    Statement,
    WindowPoints,
    WindowReading,
    WindowView,
)
from streams.core.rows.built_in_tables import WindowTable
from streams.core.rows.window_figures import FOREVER_S, Chart, Dimension, Grain, WindowFigure
from streams.core.words.naming import NAME_CHARS_MAX

_RANGES_S: Final[Mapping[WindowTable, int]] = {
    "m1": MINUTES_RANGE_S,
    "h1": HOURS_RANGE_S,
    "d1": FOREVER_S,
}
_DIMENSIONS: Final = ("tenant", "model", "metric")
_PERCENTILES: Final = ("p50", "p95", "p99")

# A day rolls up within a minute of its minutes; younger series are in m1 only.
_NAMES: Final = """
SELECT DISTINCT {column} AS name
FROM
(
    SELECT tenant, model, metric FROM d1_local
    UNION ALL
    SELECT tenant, model, metric FROM m1_local WHERE w >= now() - INTERVAL 2 HOUR
)
WHERE {where}
ORDER BY name
LIMIT {limit}
"""


@dataclass(frozen=True, kw_only=True)
class SeriesView(WindowView):
    """``retention_days``: of minutes."""

    retention_days: int

    def grain_for(self, start_s: int, stop_s: int, step_ms: int, now_s: float) -> Grain:
        query = SeriesQuery(
            tenant="", model="", metric="", start_s=start_s, stop_s=stop_s, step_s=step_ms // 1000
        )
        return self.grain_named(choose_table(query, now_s, self.retention_days))

    def reading(
        self, question: Question, figures: Sequence[WindowFigure], *, sketches: bool = False
    ) -> WindowReading:
        names = tuple(one.name for one in figures)
        table = cast(WindowTable, question.grain.table)
        return SeriesReading(_query(question), table, names, sketches)

    def ranking(self, question: Question, of: str) -> WindowReading:
        table = cast(WindowTable, question.grain.table)
        return RankingReading(_query(question), table, of)

    def names(self, at: int, given: Mapping[int, Sequence[Any]], limit: int) -> Statement:
        wanted = {number: values for number, values in given.items() if values}
        where = (f"has({{d{number}:Array(String)}}, {_DIMENSIONS[number]})" for number in wanted)
        sql = _NAMES.format(column=_DIMENSIONS[at], where=" AND ".join(where) or "1", limit=limit)
        return sql, {f"d{number}": list(values) for number, values in wanted.items()}


def _query(question: Question) -> SeriesQuery:
    tenant, model, metric = question.key
    return SeriesQuery(
        tenant=tenant,
        model=model,
        metric=metric,
        start_s=question.start_s,
        stop_s=question.stop_s,
        step_s=question.step_ms // 1000,
    )


def series_view(retention_days: int) -> SeriesView:
    return SeriesView(
        name="m1",
        description="Minutes, hours and days of series of numbers.",
        dimensions=tuple(Dimension(name, name, str, NAME_CHARS_MAX) for name in _DIMENSIONS),
        tenant=True,
        grains=tuple(
            Grain(table, WIDTH_S[table] * 1000, _RANGES_S[table], kept_s)
            for table, kept_s in kept_seconds(retention_days).items()
        ),
        figures=(
            WindowFigure("count", "UInt64", "state"),
            *(WindowFigure(name, "Float64", "state") for name in COLUMNS[2:]),
        ),
        charts=(
            Chart(
                *("mean", "Mean ± standard deviation, between minimum and maximum", "band"),
                ("mean", "sd", "min", "max"),
            ),
            Chart(
                *("percentiles", "Percentiles", "lines", _PERCENTILES),
                f"within {PERCENTILE_ERROR * 100:g} %",
            ),
            Chart("count", "Events per window", "bars", ("count",)),
        ),
        sketched=True,
        ranked=True,
        retention_days=retention_days,
    )


@dataclass(frozen=True)
class SeriesReading:
    """``sketches``: with the sketches of the values."""

    query: SeriesQuery
    table: WindowTable
    figures: tuple[str, ...] = COLUMNS[1:]
    sketches: bool = False

    @property
    def owner(self) -> str:
        return self.query.tenant

    def asked(self, known: KnownMaps) -> list[tuple[int, Statement]]:
        """Around the day of a new map a series has windows on several shards."""
        shards = known.shards_of(*self.query.names)
        parts = self.sketches or len(shards) > 1
        return [
            (shard, statement(self.query, self.table, parts=parts, counted=counted(known, shard)))
            for shard in shards
        ]

    def points(self, found: Sequence[Rows]) -> WindowPoints:
        rows = found[0] if len(found) == 1 else joined(found)
        sketches: Rows = ()
        if self.sketches or len(found) > 1:
            sketches = [(row[0], row[-EXTRA], row[1 - EXTRA]) for row in rows]
            rows = plain(rows)
        shown = steps(rows)
        columns = {name: [row[at] for row in shown] for at, name in enumerate(COLUMNS)}
        return WindowPoints(
            {"t": columns["t"], **{name: columns[name] for name in self.figures}}, sketches
        )
