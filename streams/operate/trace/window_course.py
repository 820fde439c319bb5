"""The figures of a window before and after the commit that counted an event, from the changelog.

A commit writes the whole state of each window that it changed. So the state after the commit is in the
record's own link, and the one before it in the newest earlier link that has the window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from streams.connect.broker.log_range import read_some
from streams.core.errors import BatchUnreadable, ChangelogGap
from streams.core.types import LogReader, OffsetOutOfRange, TopicPartition
from streams.engine.aggregates.window_states import WindowStates
from streams.engine.state.changelog import Link, unpack
from streams.engine.state.table import Entry
from streams.engine.state.table_values import key_bytes
from streams.engine.streams.window_aggregates import AggregatedWindows
from streams.operate.trace.covering_link import CoveringLink

BACK_MAX: Final = 2_000
"""changelog offsets that are searched for the state before: half an hour of commits, one a second"""
BACK_BYTES_MAX: Final = 8 << 20
_STEP: Final = 50

Figures: TypeAlias = Mapping[str, Any]


class FoundWindow(NamedTuple):
    """``began``: the source offset of the state's first record; None if it does not say. ``earlier``:
    the figures before that record."""

    figures: Figures
    began: int | None = None
    earlier: Figures = MappingProxyType({})


Find: TypeAlias = Callable[[Iterable[Entry]], FoundWindow | None]
"""The window in entries of a commit; None where they do not have it."""

_decode = msgspec.msgpack.Decoder(list[Any]).decode


@dataclass(frozen=True, slots=True)
class WindowCourse:
    """``before`` is empty where the commit began the window, and None where the changelog no longer
    has it, or not within `BACK_MAX` offsets and `BACK_BYTES_MAX`."""

    before: Figures | None
    after: Figures


async def window_course(
    reader: LogReader, changelog: TopicPartition, link: CoveringLink | None, find: Find
) -> WindowCourse | None:
    """None where the changelog no longer has the record's commit. Raises as `LogReader`."""
    if link is None or not link.kept:
        return None
    own, at = link.found.link, link.found.at
    try:
        after = find(await _entries(reader, changelog, own, at))
        if after is None:
            return None
        if after.began is not None and after.began >= own.from_offset:
            return WindowCourse(after.earlier, after.figures)
        begin = (await reader.bounds([changelog]))[changelog].begin
        before = await _before(reader, changelog, own, at, begin, find)
    except (OffsetOutOfRange, ChangelogGap, BatchUnreadable):
        return None
    return WindowCourse(before, after.figures)


async def _entries(
    reader: LogReader, changelog: TopicPartition, link: Link, at: int
) -> list[Entry]:
    """Those of all parts of a link, whose first one is at ``at``."""
    entries: list[Entry] = []
    parts, end = 0, at + 2 * link.parts + BACK_MAX
    end = min(end, (await reader.bounds([changelog]))[changelog].stable_end)
    while parts < link.parts and at < end:
        batch = await read_some(reader, changelog, at, end, link.parts - parts)
        for value in batch.values:
            part, found = unpack(value or b"")
            if (part.epoch, part.seq) == (link.epoch, link.seq):
                entries += found
                parts += 1
        at = batch.end
    return entries


async def _before(
    reader: LogReader, changelog: TopicPartition, own: Link, at: int, begin: int, find: Find
) -> Figures | None:
    """In steps towards the begin of the log. An older epoch ends the search: a reset began with
    empty tables."""
    low, end, used = max(begin, at - BACK_MAX), at, 0
    while end > low and used < BACK_BYTES_MAX:
        start = max(low, end - _STEP)
        newest: Figures | None = None
        older, reading = False, start
        while reading < end:
            batch = await read_some(reader, changelog, reading, end, _STEP)
            for offset, value in zip(batch.offsets, batch.values, strict=True):
                if offset >= end:
                    break
                used += len(value or b"")
                link, entries = unpack(value or b"")
                if link.epoch != own.epoch:
                    older, newest = True, None
                elif (found := find(entries)) is not None:
                    newest = found.figures
            reading = batch.end
        if newest is not None or older:
            return newest or {}
        end = start
    whole = end == begin == 0
    return {} if whole else None


def declared_found(declared: AggregatedWindows, key: tuple[Any, ...], start_ms: int) -> Find:
    """Of a tumbling window of `App.windows`."""
    wanted = declared.spec.prefix + key_bytes((key, start_ms))

    def find(entries: Iterable[Entry]) -> FoundWindow | None:
        found = next((value for raw, value in entries if raw == wanted and value is not None), None)
        if found is None:
            return None
        _, *states = _decode(found)
        restored = WindowStates(declared.fold, declared.types)
        [row] = restored.rows(restored.restore([states]))
        return FoundWindow(row)

    return find
