"""The windows and rows that an event went into, and whether their rows show it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from streams.core.rows.built_in_tables import commit_version, epoch_of, offset_of
from streams.core.rows.clickhouse_table import MOMENT, ClickHouseTable
from streams.core.types import LogReader, TopicPartition
from streams.engine.agents.job_agent import Agent
from streams.engine.agents.series_agent import SeriesAgent
from streams.engine.agents.window_agent import windows_of
from streams.engine.streams.window_aggregates import END, PART, START, AggregatedWindows
from streams.operate.trace.covering_link import CoveringLink
from streams.operate.trace.minute_state import MinuteState, minute_figures, minute_found
from streams.operate.trace.shown_rows import ShownRows, Where
from streams.operate.trace.traced_record import TracedRecord
from streams.operate.trace.window_course import WindowCourse, declared_found, window_course

_MINUTE_MS = 60_000
_M1 = "m1"
_SERIES = ("tenant", "model", "metric")
"""columns of m1"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventWindow:
    """``late``: the window was closed before the event; None: the log does not decide. ``rows``: its
    current figures. ``course``: those around the event's commit, None where the changelog no longer
    tells. ``stored``: a row that covers the event is in ClickHouse; None where a trimmed
    changelog, or a row that may have expired, leaves it open."""

    table: str
    names: Mapping[str, Any]
    start_ms: int
    end_ms: int
    late: bool | None
    rows: tuple[Mapping[str, Any], ...]
    stored: bool | None
    course: WindowCourse | None = None


@dataclass(frozen=True, slots=True)
class EventRows:
    """Rows of a declared table that name the event's place or id."""

    table: str
    rows: tuple[Mapping[str, Any], ...]


async def windows_of_event(
    agent: Agent,
    record: TracedRecord,
    link: CoveringLink | None,
    shown: ShownRows,
    minutes_since_ms: int,
    reader: LogReader,
) -> list[EventWindow]:
    """The windows that hold a counted record. ``minutes_since_ms``: older minutes have expired.
    Hopping windows and sessions have no course. Raises as `ShownRows.rows` and `LogReader`."""
    if record.fields is None or record.event_ms is None:
        return []
    found = []
    log = _Log(reader, TopicPartition(agent.source.changelog(agent.group), record.tp.partition))
    if isinstance(agent, SeriesAgent):
        found.append(await _minute(agent.series.by, record, link, shown, minutes_since_ms, log))
    for declared in windows_of(agent):
        for start_ms, end_ms in _bounds(declared, record.event_ms):
            found.append(await _declared(declared, record, start_ms, end_ms, link, shown, log))
    return [one for one in found if one is not None]


class _Log(NamedTuple):
    reader: LogReader
    changelog: TopicPartition


async def _minute(
    by: Sequence[str],
    record: TracedRecord,
    link: CoveringLink | None,
    shown: ShownRows,
    minutes_since_ms: int,
    log: _Log,
) -> EventWindow | None:
    fields, event_ms = record.fields or {}, record.event_ms or 0
    if any(name not in fields for name in by):
        return None
    names = {column: fields[name] for column, name in zip(_SERIES, by, strict=True)}
    start_ms = event_ms // _MINUTE_MS * _MINUTE_MS
    columns = {name: name for name in ("inc", "n", "s1", "lo", "hi", "ver")}
    rows = await shown.rows(
        _M1,
        columns,
        [
            *(Where(column, value) for column, value in names.items()),
            Where("w", start_ms // 1000, sql="toInt64(toUnixTimestamp(w))"),
            Where("part", record.tp.partition),
        ],
    )
    epoch = link.found.link.epoch if link is not None else None
    covering = [
        row
        for row in rows
        if (epoch is None or epoch_of(int(row["inc"])) == epoch)
        and offset_of(int(row["inc"])) <= record.offset <= offset_of(int(row["ver"]))
    ]
    states = [MinuteState.of(row) for row in rows]
    figures = minute_figures(states)
    find = minute_found([*names.values()], start_ms, record.offset, states)
    return EventWindow(
        table=_M1,
        names=names,
        start_ms=start_ms,
        end_ms=start_ms + _MINUTE_MS,
        late=False,
        rows=(figures,) if figures else (),
        stored=bool(covering) or (None if start_ms < minutes_since_ms else False),
        course=await window_course(*log, link, find),
    )


async def _declared(
    declared: AggregatedWindows,
    record: TracedRecord,
    start_ms: int,
    end_ms: int,
    link: CoveringLink | None,
    shown: ShownRows,
    log: _Log,
) -> EventWindow:
    fields, event_ms = record.fields or {}, record.event_ms or 0
    names = {name: fields[name] for name in declared.by}
    sql = {name: f"toUnixTimestamp64Milli({name})" for name in (START, END)}
    types = {name: f"`{name}`" for name in declared.table.shown if name not in (*sql, MOMENT)}
    if declared.gap_ms:
        bounds = [
            Where(START, event_ms, "<=", sql[START]),
            Where(END, event_ms, ">=", sql[END]),
        ]
    else:
        bounds = [Where(START, start_ms, sql=sql[START])]
    key = [Where(name, value) for name, value in names.items()]
    here = [*key, *bounds, Where(PART, record.tp.partition)]
    rows = await shown.rows(declared.name, {**sql, **types}, here)
    late = _late(declared, end_ms, link)
    stored = None
    if link is not None:
        version = commit_version(link.found.link.epoch, link.found.link.seq)
        covered = any(int(row["ver"]) >= version for row in rows)
        may_have_expired = declared.ttl_days is not None and not rows
        stored = True if covered else None if may_have_expired or not link.kept else False
    figures = (
        {name: value for name, value in row.items() if name not in (*declared.by, PART)}
        for row in rows
    )
    course = None
    if not late and not declared.gap_ms and declared.step_ms == declared.size_ms:
        find = declared_found(declared, tuple(names.values()), start_ms)
        course = await window_course(*log, link, find)
    return EventWindow(
        table=declared.name,
        names=names,
        start_ms=start_ms,
        end_ms=end_ms,
        late=late,
        rows=tuple(figures),
        stored=None if late else stored,
        course=course,
    )


def _late(declared: AggregatedWindows, end_ms: int, link: CoveringLink | None) -> bool | None:
    """Watermarks rise, so those of the links around the record bound the one before it."""
    if declared.late == "dead_letter":
        return False  # else it would be a dead letter
    if link is None:
        return None
    if end_ms + declared.grace_ms > link.found.link.watermark_ms:
        return False
    if link.before is not None and end_ms + declared.grace_ms <= link.before.link.watermark_ms:
        return True
    return None


def _bounds(declared: AggregatedWindows, event_ms: int) -> Iterator[tuple[int, int]]:
    """Start and end of the windows that hold the event; of a session, the event and the gap."""
    if declared.gap_ms:
        yield event_ms, event_ms + declared.gap_ms
        return
    start_ms = event_ms // declared.step_ms * declared.step_ms
    while start_ms > event_ms - declared.size_ms:
        yield start_ms, start_ms + declared.size_ms
        start_ms -= declared.step_ms


async def rows_of_event(
    tables: Iterable[ClickHouseTable], record: TracedRecord, text: str | None, shown: ShownRows
) -> list[EventRows]:
    """Rows of ``tables`` that have the record's place (columns ``part`` and ``off``), or the text
    in a column called as the field that has it; with ``text`` None by place only, since two tenants
    may use one text. Raises as `ShownRows.rows`."""
    found = []
    for table in tables:
        where = _named(table, record, text)
        if not where:
            continue
        columns = {name: f"`{name}`" for name in table.shown}
        rows = await shown.rows(table.name, columns, where)
        if rows:
            found.append(EventRows(table.name, tuple(rows)))
    return found


def _named(table: ClickHouseTable, record: TracedRecord, text: str | None) -> list[Where]:
    if {"part", "off"} <= table.types.keys():
        return [Where("part", record.tp.partition), Where("off", record.offset)]
    if text is None:
        return []
    for name in record.found_by:
        kind = table.types.get(name)
        if kind is not None and "String" in str(kind):
            return [Where(name, text)]
    return []
