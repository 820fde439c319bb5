"""Sessions: records of one key, each less than ``gap_ms`` of event time from another one.

A record may begin a session, extend it at either end, or join two. So records are placed one by one
in log order, and folded together between two joins. Open sessions emit no rows: their start may
move, and a row under the old start would remain.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.engine.aggregates.aggregate import Slots
from streams.engine.windows.aggregated.aggregate_table import AggregateTable, WindowBatch, WindowRow
from streams.engine.windows.aggregated.window_keys import Key, KeyNumbers


@dataclass(slots=True, eq=False)
class _Session:
    key: Key
    start_ms: int
    last_ms: int
    slot: int
    """-1: ended"""


class SessionWindows(AggregateTable):
    def __init__(self, name: str, gap_ms: int, *args: Any, **options: Any) -> None:
        super().__init__(name, *args, **options)
        self._gap_ms = gap_ms
        self._open: dict[Key, list[_Session]] = {}
        self._sessions: dict[int, _Session] = {}
        """by slot"""
        self._queue: list[tuple[int, int, _Session]] = []
        """heap by last event at the time of the push"""
        self._queued = 0

    # --- C1 ----------------------------------------------------------------------------------

    def late(self, times_ms: NDArray[np.int64], before_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
        closed = np.maximum(before_ms - self._grace_ms, self.closed_ms)
        return np.asarray(times_ms + self._gap_ms <= closed)

    def _fold(self, batch: WindowBatch) -> None:
        slots = np.empty(len(batch), np.int64)
        begin = 0
        closed = np.maximum(batch.before_ms - self._grace_ms, self.closed_ms)
        columns = zip(self._keys(batch), batch.times_ms.tolist(), closed.tolist(), strict=True)
        for row, (key, at_ms, closed_ms) in enumerate(columns):
            near = self._near(key, at_ms, closed_ms)
            if len(near) > 1:
                self._add(batch, slots, begin, row)
                begin = row
            session = self._join(key, near, at_ms)
            slots[row] = session.slot
            if not near:
                told = self._tenant_at is None
                tenants = [batch.tenants[row]] if told else self._tenants_in([key])
                self._owned([session.slot], [key], tenants)
        self._add(batch, slots, begin, len(batch))
        self._grew(slots, batch)

    def _keys(self, batch: WindowBatch) -> list[Key]:
        """Equal keys are one object."""
        return [self._numbers[number] for number in self._numbers.of(batch.keys).tolist()]

    def _near(self, key: Key, at_ms: int, closed_ms: int) -> list[_Session]:
        """The sessions of a record of this time, at most two."""
        return [
            session
            for session in self._open.get(key, ())
            if _takes(session.start_ms, session.last_ms, self._gap_ms, at_ms, closed_ms)
        ]

    def _begins(self, batch: WindowBatch, sure: bool) -> tuple[_NewSessions, Slots]:
        closed = np.maximum(batch.before_ms - self._grace_ms, self.closed_ms)
        keys = self._keys(batch)
        spans = {
            key: [(one.start_ms, one.last_ms) for one in self._open.get(key, ())]
            for key in dict.fromkeys(keys)
        }
        records = [*zip(keys, batch.times_ms.tolist(), closed.tolist(), strict=True)]
        near = [self._near(*record) for record in records]
        slots = [found[0].slot if len(found) == 1 else -1 for found in near]
        return _NewSessions(records, self._gap_ms, spans, sure), np.array(slots, np.int64)

    def _add(self, batch: WindowBatch, slots: NDArray[np.int64], begin: int, end: int) -> None:
        if begin == end:
            return
        rows = np.arange(begin, end)
        self._states.fold(batch.take(rows).additions(slots[rows]))

    def _join(self, key: Key, near: list[_Session], at_ms: int) -> _Session:
        """Find, begin, extend or join the session of a record."""
        if not near:
            (slot,) = self._states.begin(1).tolist()
            session = self._begin(_Session(key, at_ms, at_ms, slot))
        else:
            session = near[0]
            for other in near[1:]:
                self._merge(session, other)
            self._extend(session, min(session.start_ms, at_ms), max(session.last_ms, at_ms))
        self._dirty[session.slot] = None
        return session

    def _begin(self, session: _Session) -> _Session:
        self._open.setdefault(session.key, []).append(session)
        self._sessions[session.slot] = session
        self._push(session)
        return session

    def _push(self, session: _Session) -> None:
        self._queued += 1
        heapq.heappush(self._queue, (session.last_ms, self._queued, session))

    def _extend(self, session: _Session, start_ms: int, last_ms: int) -> None:
        if start_ms < session.start_ms:
            session.start_ms = start_ms
            self._forget_entry(session.slot)
        session.last_ms = last_ms

    def _merge(self, session: _Session, other: _Session) -> None:
        self._states.merge(np.array([session.slot]), np.array([other.slot]))
        start_ms = min(session.start_ms, other.start_ms)
        self._extend(session, start_ms, max(session.last_ms, other.last_ms))
        self._end([other])

    def _end(self, sessions: list[_Session]) -> None:
        for session in sessions:
            left = self._open[session.key]
            left.remove(session)
            if not left:
                del self._open[session.key]
            del self._sessions[session.slot]
        self._remove([session.slot for session in sessions])
        for session in sessions:
            session.slot = -1

    # --- closing -----------------------------------------------------------------------------

    def _begins_in(self, start_ms: int, end_ms: int) -> bool:
        return any(start_ms <= one.start_ms < end_ms for one in self._sessions.values())

    @property
    def _is_due(self) -> bool:
        return bool(self._queue) and self._queue[0][0] + self._gap_ms <= self.closed_ms

    def _close_due(self) -> None:
        due: list[_Session] = []
        while self._is_due and len(due) < self._room:
            last_ms, _, session = heapq.heappop(self._queue)
            if session.slot < 0:
                continue
            if session.last_ms > last_ms:
                self._push(session)
            else:
                due.append(session)
        if not due:
            return
        due.sort(key=lambda session: (session.last_ms, session.key))
        rows = self._states.rows(np.array([session.slot for session in due], np.int64))
        self._closed(
            [
                WindowRow(session.key, session.start_ms, session.last_ms, row)
                for session, row in zip(due, rows, strict=True)
            ]
        )
        self._end(due)

    @property
    def has_news(self) -> bool:
        return False

    def take_early(self, rows_max: int) -> list[WindowRow]:
        return []

    # --- `Table` -----------------------------------------------------------------------------

    def _closing(self) -> tuple[Any, ...]:
        return ()

    def _go_on(self, *closing: Any) -> None:
        """Nothing to restore: a session closes in one step."""

    def _places(self, slots: Slots) -> Iterator[tuple[Key, int, int]]:
        sessions = map(self._sessions.__getitem__, slots.tolist())
        return ((one.key, one.start_ms, one.last_ms) for one in sessions)

    def _find(self, keys: Sequence[Key], starts_ms: Sequence[int]) -> Slots:
        return np.array([*map(self._slot, keys, starts_ms)], np.int64)

    def _slot(self, key: Key, start_ms: int) -> int:
        found = (one.slot for one in self._open.get(key, ()) if one.start_ms == start_ms)
        return next(found, -1)

    def _forget_keys(self) -> None:
        self._numbers = KeyNumbers()

    def _restored(
        self,
        slots: Slots,
        keys: Sequence[Key],
        starts_ms: Sequence[int],
        lasts_ms: Sequence[int],
    ) -> None:
        columns = slots.tolist(), keys, starts_ms, lasts_ms
        for slot, key, start_ms, last_ms in zip(*columns, strict=True):
            self._begin(_Session(key, start_ms, last_ms, slot))


class _NewSessions:
    """``records``: of each, its key, its time, and until when sessions are closed before it;
    ``spans``: start and last event of the sessions of each key.

    Unless ``sure``, no session is begun or extended here by a record, which its id may yet refuse: the
    next ones would count as if it were there, but each begin a session. So too many are counted."""

    def __init__(
        self,
        records: list[tuple[Key, int, int]],
        gap_ms: int,
        spans: dict[Key, list[tuple[int, int]]],
        sure: bool,
    ) -> None:
        self._records = records
        self._gap_ms = gap_ms
        self._spans = spans
        self._sure = sure

    def begins(self, row: int) -> bool:
        return not self._near(row)

    def place(self, row: int) -> None:
        if not self._sure:
            return
        key, at_ms, _ = self._records[row]
        near, spans = self._near(row), self._spans[key]
        for span in near:
            spans.remove(span)
        times = [at_ms, *(time_ms for span in near for time_ms in span)]
        spans.append((min(times), max(times)))

    def _near(self, row: int) -> list[tuple[int, int]]:
        key, *at = self._records[row]
        return [span for span in self._spans[key] if _takes(*span, self._gap_ms, *at)]


def _takes(start_ms: int, last_ms: int, gap_ms: int, at_ms: int, closed_ms: int) -> bool:
    """Whether a session takes a record at ``at_ms``. One that ends by ``closed_ms`` takes none, even
    before its row is owed."""
    return start_ms - gap_ms < at_ms < last_ms + gap_ms and last_ms + gap_ms > closed_ms
