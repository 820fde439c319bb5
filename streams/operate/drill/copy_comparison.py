"""Compares the windows of a copy with those of the shard that it is a copy of, which goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from streams.connect.sinks.replica import Replica
from streams.connect.sinks.rollup import WIDTH_S
from streams.connect.sinks.view_source import WINDOWS

_TOLERANCE: Final = 1e-9
_START: Final[Mapping[str, str]] = {"m1": "w", "h1": "toStartOfHour(w)", "d1": "toStartOfDay(w)"}
_DAYS: Final = """
SELECT toString(toDate(w)) AS day, count(), sum(events), sum(total), sqrt(sum(events) * sum(squares))
FROM
(
    SELECT tenant, model, metric, w, sum(n) AS events, sum(s1) AS total, sum(s2) AS squares
    FROM {database}.{table}_local FINAL
    WHERE w < toDateTime({{over:UInt32}}, 'UTC') AND (tenant, model, metric, w) NOT IN
    (
        SELECT tenant, model, metric, toDateTime({start}, 'UTC') FROM {live}.m1_local FINAL
        WHERE at >= fromUnixTimestamp64Milli({{since:Int64}}, 'UTC')
    ) AND (tenant, model, metric, w) NOT IN
    (
        SELECT tenant, model, metric, w FROM {live}.{table}_local FINAL
        WHERE at >= fromUnixTimestamp64Milli({{since:Int64}}, 'UTC')
    )
    GROUP BY tenant, model, metric, w HAVING events > 0
)
GROUP BY day ORDER BY day
"""
_COUNT: Final = "SELECT count() FROM {database}.{table} FINAL"


class DayDifference(NamedTuple):
    """Windows, events and their sum on one UTC day: of the shard, and of its copy."""

    table: str
    day: str
    shard: tuple[int, int, float]
    copy: tuple[int, int, float]


class LostFacts(NamedTuple):
    table: str
    shard: int
    copy: int

    @property
    def rows(self) -> int:
        return max(0, self.shard - self.copy)


class CopyComparison:
    """``over_s``: windows that end later are live. ``since_ms``: windows of which the shard got a row
    since are left out."""

    def __init__(
        self, replica: Replica, live: str, copy: str, *, over_s: int, since_ms: int
    ) -> None:
        self._replica = replica
        self._live = live
        self._copy = copy
        self._over_s = over_s
        self._since_ms = since_ms
        self.windows = 0
        """that were compared"""

    def days(self) -> Iterator[DayDifference]:
        """Where counts differ, or sums by more than 1e-9 of what they are made of."""
        for table in WINDOWS:
            shard, copy = (self._of(database, table) for database in (self._live, self._copy))
            for day in sorted(shard.keys() | copy.keys()):
                its, other = (found.get(day, (0, 0, 0.0, 0.0)) for found in (shard, copy))
                self.windows += int(its[0])
                same = its[:2] == other[:2] and abs(its[2] - other[2]) <= _TOLERANCE * its[3]
                if not same:
                    yield DayDifference(table, day, its[:3], other[:3])

    def facts(self, tables: Sequence[str]) -> Iterator[LostFacts]:
        """``tables``: names with ``_local``, of facts."""
        for table in tables:
            shard, copy = (
                int(self._replica.query(_COUNT.format(database=database, table=table))[1][0][0])
                for database in (self._live, self._copy)
            )
            yield LostFacts(table, shard, copy)

    def _of(self, database: str, table: str) -> dict[str, tuple[int, int, float, float]]:
        width_s = WIDTH_S["h1"] if table == "h1" else WIDTH_S["d1"] if table == "d1" else 60
        sql = _DAYS.format(database=database, live=self._live, table=table, start=_START[table])
        bounds: dict[str, Any] = {
            "over": self._over_s // width_s * width_s,
            "since": self._since_ms,
        }
        return {
            str(day): (int(windows), int(n), float(s1), float(bound))
            for day, windows, n, s1, bound in self._replica.query(sql, bounds)[1]
        }
