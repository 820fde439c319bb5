"""The minute window of a series in entries of its changelog and in rows of ClickHouse.

A late event may begin another incarnation of a window that was closed. Its state counts from that event
on; what the earlier ones counted is in their rows, which are complete before a window is closed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from streams.core.rows.built_in_tables import offset_of
from streams.engine.engine_tables import MINUTE_WINDOWS
from streams.engine.state.table import Entry
from streams.engine.windows.minutes.names import SeriesNames
from streams.engine.windows.minutes.window_segment import decode_rows
from streams.operate.trace.window_course import Find, FoundWindow

_MINUTE_MS = 60_000


class MinuteState(NamedTuple):
    """One incarnation: count, sum, smallest and largest value."""

    inc: int
    n: int
    s1: float
    lo: float
    hi: float

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> MinuteState:
        return cls(
            int(row["inc"]), int(row["n"]), float(row["s1"]), float(row["lo"]), float(row["hi"])
        )


def minute_figures(states: Sequence[MinuteState]) -> dict[str, float]:
    """Of all incarnations together; empty without one."""
    total = sum(one.n for one in states)
    if not total:
        return {}
    return {
        "count": total,
        "mean": sum(one.s1 for one in states) / total,
        "min": min(one.lo for one in states),
        "max": max(one.hi for one in states),
    }


def minute_found(
    names: Sequence[str], start_ms: int, offset: int, rows: Sequence[MinuteState]
) -> Find:
    """The window of a series (tenant, model, metric) with the event at source ``offset``: it is in
    the youngest incarnation that began at or before it. ``rows``: those of ClickHouse."""
    minute = start_ms // _MINUTE_MS

    def find(entries: Iterable[Entry]) -> FoundWindow | None:
        states = [one for one in _states(entries, names, minute) if offset_of(one.inc) <= offset]
        if not states:
            return None
        own = max(states)
        earlier = [one for one in rows if one.inc < own.inc]
        return FoundWindow(
            minute_figures([*earlier, own]), offset_of(own.inc), minute_figures(earlier)
        )

    return find


def _states(entries: Iterable[Entry], names: Sequence[str], minute: int) -> list[MinuteState]:
    segments = [
        (int.from_bytes(key[len(MINUTE_WINDOWS.prefix) :], "big"), value)
        for key, value in entries
        if value is not None and key.startswith(MINUTE_WINDOWS.prefix)
    ]
    if not segments:
        return []
    codes = SeriesNames()
    rows = decode_rows(codes, segments)
    series = int(codes.keys(*([name] for name in names))[0])
    columns = rows.columns
    at = ((rows.key == series) & (columns["minute"] == minute)).nonzero()[0]
    parts = (columns[name][at].tolist() for name in ("inc", "n", "s1", "lo", "hi"))
    newest = {inc: MinuteState(inc, *rest) for inc, *rest in zip(*parts, strict=True)}
    return [*newest.values()]
