"""Every model of a metric, or every metric of a model, over one range: which is highest, which is lowest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from streams.connect.sinks.moved_rows import counted
from streams.connect.sinks.percentiles import QUANTILES
from streams.connect.sinks.series import COLUMNS, SeriesQuery, plain, ranked, steps
from streams.connect.sinks.series_merge import EXTRA, joined
from streams.connect.sinks.shard_maps import KnownMaps
from streams.connect.sinks.window_views.view import Rows, Statement, WindowPoints
from streams.core.rows.built_in_tables import WindowTable

_SHARES: Final = len(QUANTILES)
_WHOLE: Final = len(COLUMNS) - _SHARES + 1 + EXTRA
"""columns of a row that can be joined; the codes of its percentiles are one column"""


@dataclass(frozen=True)
class RankingReading:
    """A row for each value of ``of`` with an event, with all figures of `SeriesReading` for one step as long as the
    range. What ``query`` names for ``of`` and for the step does not matter."""

    query: SeriesQuery
    table: WindowTable
    of: str

    @property
    def owner(self) -> str:
        return self.query.tenant

    def asked(self, known: KnownMaps) -> list[tuple[int, Statement]]:
        """Every shard. With one map a series is on one of them, so its sketch stays there."""
        parts = len(known.maps) > 1
        return [
            (
                shard,
                ranked(
                    *(self.query, self.table, self.of), parts=parts, counted=counted(known, shard)
                ),
            )
            for shard in range(len(known.urls))
        ]

    def points(self, found: Sequence[Rows]) -> WindowPoints:
        """The first column is ``of``, ascending."""
        rows = joined(found)
        if rows and len(rows[0]) == _WHOLE:
            rows = plain(rows)
        shown = steps(rows)
        names = (self.of, *COLUMNS[1:])
        return WindowPoints({name: [row[at] for row in shown] for at, name in enumerate(names)})
