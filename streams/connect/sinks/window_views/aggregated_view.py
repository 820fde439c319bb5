"""The view of windows with aggregators: a row for each window, key, partition and epoch.

A row holds figures, not states. So figures of several rows, of a step with several windows or of a
window in several partitions, are merged where SQL can (`Merge`), and unknown otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from streams.connect.sinks.moved_rows import RowPlacement, counted
from streams.connect.sinks.series import STEPS_MAX
from streams.connect.sinks.series_merge import by_step
from streams.connect.sinks.shard_maps import KnownMaps
from streams.connect.sinks.window_views.view import (
    Question,
    Rows,
    Statement,
    WindowPoints,
    WindowReading,
    WindowView,
    seconds,
)
from streams.core.errors import UsageError
from streams.core.rows.dated_map import shard_key_text
from streams.core.rows.window_figures import Dimension, Grain, Merge, WindowFigure

_MERGED: Final[Mapping[Merge, str]] = {
    "sum": "sum({0})",
    "min": "min({0})",
    "max": "max({0})",
    "first": "argMin({0}, w)",
    "last": "argMax({0}, w)",
    "none": "any({0})",
}
_JOINED: Final[Mapping[str, Callable[[Iterable[Any]], Any]]] = {"sum": sum, "min": min, "max": max}
_KINDS: Final[Mapping[type, str]] = {str: "String", int: "Int64", bool: "Bool"}
_OWN: Final = 4
"""columns before the figures: step, rows, windows, closed"""
# No column has an alias: a figure may have any name. The result's columns are known by their order.
_WINDOWS: Final = "groupUniqArray(toUnixTimestamp64Milli(w))"
_SQL: Final = """
SELECT {step}, count(), {windows}, min(closed){figures}
FROM {table}_local FINAL
WHERE {key}
    AND w >= fromUnixTimestamp64Milli({{start:Int64}}) AND w < fromUnixTimestamp64Milli({{stop:Int64}}){counted}
GROUP BY 1
ORDER BY 1
"""
_NAMES: Final = """
SELECT DISTINCT {column}
FROM {table}_local
WHERE {where}
ORDER BY 1
LIMIT {limit}
"""


@dataclass(frozen=True, kw_only=True)
class AggregatedView(WindowView):
    """``columns``: the column of each figure, by its name. ``key``: the numbers of the dimensions in the
    order of the key that chooses a row's shard; ``placement``: the same as SQL."""

    columns: Mapping[str, str]
    key: tuple[int, ...]
    placement: RowPlacement

    def grain_for(self, start_s: int, stop_s: int, step_ms: int, now_s: float) -> Grain:
        """That whose windows are one step long; else the longest of which a step is a multiple."""
        if stop_s <= start_s:
            raise UsageError("from is not before to.")
        if (stop_s - start_s) * 1000 > step_ms * STEPS_MAX:
            raise UsageError(f"the range has more than {STEPS_MAX:,} steps: take a longer step.")
        fitting = [one for one in self.grains if step_ms % one.width_ms == 0]
        if not fitting:
            raise UsageError(
                f"step {step_ms / 1000:g} s is no multiple of the {self.grains[0].width_ms / 1000:g} s of "
                f"windows {self.name}."
            )
        return fitting[-1]

    def reading(
        self, question: Question, figures: Sequence[WindowFigure], *, sketches: bool = False
    ) -> WindowReading:
        return _Reading(self, question, tuple(figures))

    def names(self, at: int, given: Mapping[int, Sequence[Any]], limit: int) -> Statement:
        wanted = {number: values for number, values in given.items() if values}
        where = [
            f"has({{d{number}:Array({_KINDS[self.dimensions[number].kind]})}}, {self._at(number)})"
            for number in wanted
        ]
        sql = _NAMES.format(
            column=self._at(at),
            # Of the longest windows, which hold every key in the fewest rows.
            table=self.grains[-1].table,
            where=" AND ".join(where) or "1",
            limit=limit,
        )
        return sql, {f"d{number}": list(values) for number, values in wanted.items()}

    def _at(self, number: int) -> str:
        return _quoted(self.dimensions[number].column)


@dataclass(frozen=True)
class _Reading:
    _view: AggregatedView
    _question: Question
    _figures: tuple[WindowFigure, ...]

    @property
    def owner(self) -> str:
        return str(self._question.key[0]) if self._view.tenant else ""

    def asked(self, known: KnownMaps) -> list[tuple[int, Statement]]:
        """Rows of one key and partition change their shard at midnight, by another map, or when their day
        moves."""
        key = shard_key_text(self._question.key[at] for at in self._view.key)
        shards = known.shards_of_key(key)
        parts, by = len(shards) > 1, self._view.placement
        return [
            (shard, self._statement(counted(known, shard, by), parts=parts)) for shard in shards
        ]

    def _statement(self, counts: str, *, parts: bool) -> Statement:
        """``counts``: the condition of `counted`. ``parts``: with the starts of the windows, not their number
        alone, to join answers by."""
        question, view = self._question, self._view
        figures = (
            _MERGED[one.merge].format(_quoted(view.columns[one.name])) for one in self._figures
        )
        sql = _SQL.format(
            step=self._step(),
            windows=_WINDOWS if parts else "uniqExact(w)",
            figures="".join(f",\n    {one}" for one in figures),
            table=question.grain.table,
            counted=counts,
            key=" AND ".join(_is(one, at) for at, one in enumerate(view.dimensions)),
        )
        given = {f"d{at}": value for at, value in enumerate(question.key)}
        return sql, {**given, "start": question.start_s * 1000, "stop": question.stop_s * 1000}

    def _step(self) -> str:
        at_ms = "toUnixTimestamp64Milli(w)"
        if self._question.step_ms == self._question.grain.width_ms:
            return at_ms
        return f"intDiv({at_ms}, {self._question.step_ms}) * {self._question.step_ms}"

    def points(self, found: Sequence[Rows]) -> WindowPoints:
        rows = found[0] if len(found) == 1 else self._joined(found)
        columns: dict[str, list[Any]] = {
            "t": [seconds(row[0]) for row in rows],
            "closed": [bool(row[3]) for row in rows],
        }
        for at, figure in enumerate(self._figures, _OWN):
            columns[figure.name] = [
                row[at] if _is_known(figure, row[1], row[2]) else None for row in rows
            ]
        return WindowPoints(columns)

    def _joined(self, found: Sequence[Rows]) -> list[Sequence[Any]]:
        """A row for each step of the answers of several shards, each with `_WINDOWS`."""
        return [self._one(rows) for rows in by_step(found)]

    def _one(self, parts: Sequence[Sequence[Any]]) -> Sequence[Any]:
        ordered = sorted(parts, key=lambda row: min(row[2]))
        # A part's first value is not of its first window where that has none: then parts must follow each other.
        apart = all(max(one[2]) < min(two[2]) for one, two in pairwise(ordered))
        windows = len(set().union(*(row[2] for row in parts)))
        return [
            ordered[0][0],
            sum(row[1] for row in parts),
            windows,
            all(row[3] for row in parts),
            *(_figure(one, at, ordered, apart) for at, one in enumerate(self._figures, _OWN)),
        ]


def _figure(figure: WindowFigure, at: int, ordered: Sequence[Sequence[Any]], apart: bool) -> Any:
    """Of parts in the order of their first windows. Parts without a value count for nothing, as in SQL."""
    valued = [row for row in ordered if row[at] is not None]
    if not valued:
        return None
    if figure.merge in _JOINED:
        return _JOINED[figure.merge](row[at] for row in valued)
    if not apart and figure.type.startswith("Nullable"):
        return None
    last = figure.merge == "last"
    return (max(valued, key=lambda row: max(row[2])) if last else valued[0])[at]


def _is_known(figure: WindowFigure, rows: int, windows: int) -> bool:
    if figure.merge == "none":
        return bool(rows == 1)
    # Of rows of one window, partitions, no one is first.
    return figure.merge not in ("first", "last") or bool(rows == windows)


def _is(dimension: Dimension, at: int) -> str:
    return f"{_quoted(dimension.column)} = {{d{at}:{_KINDS[dimension.kind]}}}"


def _quoted(column: str) -> str:
    return f"`{column}`"
