"""Stream agents with one defect each (streams/dev/simulation/broken/variants.py)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from streams.core.types import OutboundRecord, RecordBatch
from streams.dev.simulation.variant import Variant, replaced
from streams.engine.decode.codecs import BadPosition
from streams.engine.runtime.partition.agent_run import AgentRun
from streams.engine.runtime.partition.agent_waits import AgentWaits
from streams.engine.runtime.partition.held_closes import HeldWindow
from streams.engine.runtime.partition.partition import Prepared
from streams.engine.runtime.partition.stream_partition import StreamPartition
from streams.engine.runtime.partition.window_closing import WindowClosing
from streams.engine.state.changelog import Link
from streams.engine.state.keyed import _DELETED, KeyedTable
from streams.engine.streams.stream import Stream
from streams.engine.windows.windowed import WindowedTable

_refused = AgentWaits.refused
_prepare = StreamPartition.prepare
_drop = StreamPartition.drop
_fold = StreamPartition.fold
_link = StreamPartition._link


def _with_the_half_event(self: StreamPartition, room: Sequence[int], spared: Any = ()) -> Prepared:
    """Partial writes of the event in progress enter the commit."""
    for table in self._staged.tables:
        table.seal()
        for key, value in (table._sealed or table._staged).items():
            if value is not _DELETED:
                table._kept[key] = value
                table._dirty[key] = None
    return _prepare(self, room, spared)


def _kept_after_an_exception(self: StreamPartition) -> None:
    if self.given:
        _join(self)
    _drop(self)


def _join(partition: StreamPartition) -> None:
    partition._staged.seal()
    partition._staged.join(partition._records)


def _stream_partition(part: AgentRun | AgentWaits | WindowClosing) -> StreamPartition:
    assert isinstance(part._partition, StreamPartition)
    return part._partition


def _acknowledged(self: AgentRun, code: str, error: BaseException) -> None:
    """An event that raised counts as handled."""
    _stream_partition(self).at += 1


def _skipped(self: AgentWaits) -> bool:
    """An event of a tenant over its share counts as handled."""
    records = _stream_partition(self)._records
    before = len(records)
    if not _refused(self):
        return False
    del records[before:]
    return True


def _given_is_complete(self: StreamPartition, seq: int, base_offset: int = 0) -> Link:
    """The offset is behind the event in progress."""
    link = _link(self, seq, base_offset)
    if self.in_progress is None:
        return link
    return msgspec.structs.replace(link, next_offset=self.in_progress + 1)


def _sent_at_once(self: StreamPartition, record: OutboundRecord) -> None:
    self._records.append(record)


def _refused_when_read(self: StreamPartition, batch: RecordBatch) -> None:
    """A bad record is dead-lettered when read, before the events in front of it."""
    _fold(self, batch)
    if self._chunks and self._chunks[-1].batch is batch:
        self._batch = batch
        for item in self._chunks[-1].items:
            if type(item) is BadPosition:
                self._refuse(item.position, item.code, item.message, "decode", "")
        self._batch = None


@contextmanager
def _read_again_in_silence() -> Iterator[None]:
    def refuse_row(self: StreamPartition) -> None:
        self._chunks[0].dead += 1
        self.at += 1
        self._tell()

    with (
        patch.object(StreamPartition, "fold", _refused_when_read),
        patch.object(StreamPartition, "_refuse_row", refuse_row),
    ):
        yield


@contextmanager
def _former_life_goes_on() -> Iterator[None]:
    """A body that ignores its cancellation completes the refused event."""

    def leave(self: StreamPartition) -> None:
        """Its stream stays the current one."""

    def drop(self: StreamPartition) -> None:
        stream = self._stream
        _drop(self)
        if stream is not None:
            stream.tables = self._keyed
        self._stream = stream

    def complete(self: StreamPartition, stream: Stream) -> None:
        self._stream = stream
        _complete(self, stream)

    with (
        patch.object(StreamPartition, "leave", leave),
        patch.object(StreamPartition, "drop", drop),
        patch.object(StreamPartition, "complete", complete),
    ):
        yield


_complete = StreamPartition.complete


def _nothing_loaded(self: KeyedTable, items: Iterable[tuple[bytes, bytes]]) -> None:
    del self, items


async def _closed_in_two_steps(
    self: WindowClosing, stream: Stream, window: HeldWindow, on_close: Any, error: Any
) -> None:
    """The entry is removed first; its callback's records follow in another step."""
    table, entry = self._windowed[window.table][0], (window.key, window.start_ms)
    value = table[entry]
    del table[entry]
    _join(_stream_partition(self))
    named = window.key, (window.start_ms / 1000, window.end_ms / 1000)
    try:
        await self._call(window, on_close, named, value)
    except Exception:
        self._staged.drop()
        table._kept[entry] = value
        table._dirty[entry] = None
        raise
    self._partition.check_current(stream)
    _join(_stream_partition(self))
    self.held.closed(self.owner, window)


_close = WindowClosing._close


async def _sent_by_a_failed_close(
    self: WindowClosing, stream: Stream, window: HeldWindow, on_close: Any, error: Any
) -> None:
    """What a callback sent before it failed joins the commit."""
    try:
        await _close(self, stream, window, on_close, error)
    except Exception:
        _stream_partition(self)._records += self._staged.sent
        self._staged.sent.clear()
        raise


@contextmanager
def _held_outside_the_state() -> Iterator[None]:
    """A held window is only in memory: the next commit deletes its entry."""
    memory: dict[tuple[int, tuple[Any, int]], Any] = {}

    def set_aside(self: WindowedTable, entry: tuple[Any, int]) -> None:
        if entry not in self._kept:
            return
        memory[id(self), entry] = self._kept.pop(entry)
        self._index(entry)
        self._dirty[entry] = None

    def bring_back(self: WindowedTable, entry: tuple[Any, int]) -> None:
        if (id(self), entry) not in memory:
            return
        self._kept[entry] = memory.pop((id(self), entry))
        self._index(entry)
        self._dirty[entry] = None

    with (
        patch.object(WindowedTable, "set_aside", set_aside),
        patch.object(WindowedTable, "bring_back", bring_back),
    ):
        yield


def _opened_again(self: WindowedTable, key: tuple[Any, int]) -> None:
    """An event reopens its closed window."""
    KeyedTable._check_new(self, key)


def _closed_at_the_next_stop(self: StreamPartition) -> None:
    """A window that an event begins closes when the list ends, not when it is due."""


VARIANTS: Mapping[str, Variant] = {
    "commit_with_a_half_event": replaced(StreamPartition, prepare=_with_the_half_event),
    "staged_writes_kept_after_an_exception": replaced(
        StreamPartition, drop=_kept_after_an_exception
    ),
    "acknowledged_because_it_raised": replaced(AgentRun, _refuse=_acknowledged),
    "over_share_and_without_a_letter": replaced(AgentWaits, refused=_skipped),
    "event_in_progress_committed": replaced(StreamPartition, _link=_given_is_complete),
    "sends_not_staged": replaced(StreamPartition, emit=_sent_at_once),
    "bad_records_refused_before_their_turn": _read_again_in_silence,
    "former_life_goes_on": _former_life_goes_on,
    "keyed_table_not_restored": replaced(KeyedTable, load=_nothing_loaded),
    "window_closed_in_two_steps": replaced(WindowClosing, _close=_closed_in_two_steps),
    "sent_by_a_failed_close": replaced(WindowClosing, _close=_sent_by_a_failed_close),
    "held_window_outside_the_state": _held_outside_the_state,
    "closed_window_opened_again": replaced(WindowedTable, _check_new=_opened_again),
    "begun_window_closes_late": replaced(StreamPartition, window_began=_closed_at_the_next_stop),
}
"""By name, the defect."""
