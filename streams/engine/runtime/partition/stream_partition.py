"""An assigned partition of a stream agent: one coroutine handles one event at a time
(docs/protocols/stream_agents.md).

 E1  read ahead of the agent                                 `fold`
 E2  give the next event, or dead-letter a bad record        `more`
 E3  stage writes and sends                                  `stage`, `emit`
 E4  complete the event: what is staged joins the commit     `complete`
 E5  commit complete events only                             `prepare`
 E6  drop what is staged after an error                      `drop`

E2 to E4 take one turn of the event loop for all buffered events, unless the agent waits.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NoReturn

import numpy as np

from streams.core.errors import DiaError, PoisonStorm, TableMisused
from streams.core.rows.targets import RowTarget, RowValues
from streams.core.topics.current_stream import OwnTables
from streams.core.topics.topic import tenant_of
from streams.core.types import OutboundRecord, RecordBatch
from streams.core.wake_signal import WakeSignal
from streams.engine.agents.stream_agent import StreamAgent
from streams.engine.decode.codecs import BadPosition
from streams.engine.runtime.effects.dead_letters import Origin
from streams.engine.runtime.effects.refused_close import RefusedClose, refused_close
from streams.engine.runtime.offsets.close_order import CloseOrder
from streams.engine.runtime.offsets.shed_order import ShedOrder
from streams.engine.runtime.partition.agent_run import AgentRun
from streams.engine.runtime.partition.agent_waits import AgentWaits
from streams.engine.runtime.partition.fetched_events import FetchedEvents, fetched_row, next_rows
from streams.engine.runtime.partition.key_placement import key_elsewhere
from streams.engine.runtime.partition.partition import Partition, Prepared
from streams.engine.runtime.partition.pressure import PAUSE_AT
from streams.engine.runtime.partition.staged import Staged
from streams.engine.runtime.partition.window_closing import WindowClosing
from streams.engine.runtime.restore.source_check import Reached
from streams.engine.state.key_owners import Author, Several
from streams.engine.state.keyed import KeyedTable
from streams.engine.state.table_values import Key, record_key
from streams.engine.streams.stream import Stream

_FETCHES_AHEAD: Final = 4  # wait for the agent at most: bounds memory
_TURN_S: Final = 0.05
"""an agent that never waits, and windows that close, yield to the event loop this often"""
_TURN_EVENTS: Final = 8  # between two checks of the clock
_OVER_PAUSE_S: Final = 1.0  # before a body that reads a finished stream is cancelled


class StreamPartition(Partition):
    """Also the `Feed` of its agent's stream and the `Writer` of the agent's tables."""

    failure: DiaError | None

    def __post_init__(self) -> None:
        super().__post_init__()
        agent = self.agent
        assert isinstance(agent, StreamAgent)
        self._regrouping = agent.regrouping
        self.items: Sequence[Any] = ()
        self.at = self.until = self.given = 0
        self.singly_until = 0
        """below this offset `take` gives one event at a time"""
        self._chunks: deque[FetchedEvents] = deque()
        self._position = self.progress.fold_offset
        self._last_read = super().reached
        self._waiting_bytes = 0
        self._wake = WakeSignal(self.clock)
        self._turn_began_s = 0.0
        self._stream: Stream | None = None
        self._keyed: dict[str, KeyedTable] = OwnTables(
            (declared.name, self.table(declared.spec)) for declared in agent.owned
        )
        for table in self._keyed.values():
            table.writer = self
        self._staged = Staged()
        self._closing = WindowClosing(self, self._staged, agent.owned, self._keyed)
        self.held = self._closing.held
        self.waits = AgentWaits(self, self._chunks)
        self._run = AgentRun(self, agent, self.clock, self.settings.agent_timeout_s)

    # --- E1 ----------------------------------------------------------------------------------

    def fold(self, batch: RecordBatch) -> None:
        """E1. The agent takes the events later."""
        assert batch.start == self._position, "a batch may neither repeat nor skip"
        self.sizes.learn()
        for table in self._keyed.values():
            table.check_bound()
        batch.to_lists()
        fetched = FetchedEvents(batch, self._decode(batch))
        self._position = batch.end
        if not len(batch) and not self._chunks:
            self.progress.passed(batch)
            return
        self._chunks.append(fetched)
        self._waiting_bytes += fetched.bytes
        if len(batch):
            self._last_read = Reached(batch.end, batch.offsets[-1], batch.timestamps[-1])
        self._run.start()
        self._wake.notify()

    @property
    def position(self) -> int:
        return self._position

    @property
    def reached(self) -> Reached:
        return self._last_read._replace(next_offset=self._position)

    @property
    def fill(self) -> float:
        settings = self.settings
        ahead = self._waiting / (_FETCHES_AHEAD * settings.fetch_max_records)
        return max(super().fill, ahead, self._waiting_bytes / settings.max_ahead_bytes)

    @property
    def _waiting(self) -> int:
        return sum(len(chunk.items) for chunk in self._chunks) - self.at

    @property
    def waits_since_ms(self) -> int:
        self._tell()
        if not self._chunks:
            return 0
        chunk = self._chunks[0]
        return chunk.batch.timestamps[self.at if chunk.items is self.items else 0]

    # --- E2 ----------------------------------------------------------------------------------

    def begin(self) -> Stream:
        """A new stream that begins at the first incomplete event."""
        self.until = self.at
        self._stream = Stream(self, self._keyed, self._regrouping)
        return self._stream

    def drop(self) -> None:
        """E6. End the current stream and drop what is staged."""
        self.leave()
        self.given = 0
        self.until = self.at
        self.waits.since_s = None
        self._staged.drop()
        self._closing.in_progress = False

    def leave(self) -> None:
        """End the current stream after a timeout; what is staged stays until `drop`."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.end()

    def give_singly(self, rows: int) -> None:
        """Give the next ``rows`` rows one by one: the agent raised on the list of them."""
        batch, row, _, _ = self.row(rows - 1)
        self.singly_until = batch.offsets[row] + 1

    async def more(self, stream: Stream) -> None:
        while True:
            if self.clock.monotonic() - self._turn_began_s >= _TURN_S:
                await asyncio.sleep(0)
                self._turn_began_s = self.clock.monotonic()
            self.check_current(stream)
            self._pass_bad()
            if self._closing.due:
                await self._closing.close_next(stream)
                continue
            if self.waits.refused():
                continue
            if self.at < len(self.items):
                self.until = self._next_stop()
                self.waits.given()
                return
            await self._wait(None)

    async def _wait(self, deadline_s: float | None) -> None:
        await self._wake.wait(deadline_s)
        self._turn_began_s = self.clock.monotonic()

    def _next_stop(self) -> int:
        """The row before which the agent must call `more` again. Windows close between two
        events."""
        count = 1 if self.waits.shares.strained else _TURN_EVENTS
        stop = min(self.at + count, len(self.items))
        if self._closing.has_windows:
            times_ms, due_ms = self._chunks[0].watermark_ms, self._closing.closes_next_ms
            stop = min(stop, bisect_left(times_ms, due_ms, self.at, stop) + 1)
        bad_rows = self._chunks[0].bad_rows
        if bad_rows and (next_bad := bisect_left(bad_rows, self.at)) < len(bad_rows):
            return min(stop, bad_rows[next_bad])
        return stop

    async def gather(self, stream: Stream, count: int, within_s: float | None) -> list[int]:
        deadline_s: float | None = None
        while True:
            await self.more(stream)
            singly = self._chunks[0].batch.offsets[self.at] < self.singly_until
            many = 1 if singly or self.waits.shares.strained else count
            rows, whole = next_rows(self._chunks, self.at, many)
            now_s = self.clock.monotonic()
            if within_s is not None and deadline_s is None:
                deadline_s = now_s + within_s
            late = deadline_s is not None and now_s >= deadline_s
            if whole or late or self.fill >= PAUSE_AT:
                self.given = rows[-1] + 1
                return rows
            await self._wait(deadline_s)

    def row(self, ahead: int) -> tuple[RecordBatch, int, Any, int]:
        fetched, row = fetched_row(self._chunks, self.at + ahead)
        return fetched.batch, row, fetched.items[row], fetched.event_ms[row]

    @property
    def in_progress(self) -> int | None:
        """Offset of the first event that the agent holds."""
        return self._chunks[0].batch.offsets[self.at] if self.given else None

    def take_close_order(self, order: CloseOrder) -> None:
        if order.epoch == self.state.link.epoch:
            self._closing.held.take_order(order)

    def closing_stream(self) -> Stream:
        """For one `on_window_close` that waits."""
        return Stream(self, self._keyed, self._regrouping)

    # --- E3 ----------------------------------------------------------------------------------

    @property
    def in_event(self) -> bool:
        return self.given > 0 or self._closing.in_progress

    @property
    def author(self) -> Author:
        if self._closing.in_progress:
            return self._closing.owner
        if self.given == 1:
            return tenant_of(self.items[self.at]) or self._closing.unowned
        events = (self.row(ahead)[2] for ahead in range(self.given))
        tenants = {tenant_of(event) for event in events if type(event) is not BadPosition}
        return tenants.pop() or self._closing.unowned if len(tenants) == 1 else Several.LIST

    @property
    def event_time_ms(self) -> int:
        """The watermark of the complete events."""
        reached = self.progress.watermark_ms
        if self.at and self._chunks:
            return max(reached, self._chunks[0].watermark_ms[self.at - 1])
        return reached

    @property
    def appended_ms(self) -> int:
        events = map(self.row, range(self.given))
        return max((batch.timestamps[row] for batch, row, _, _ in events), default=0)

    def window_began(self) -> None:
        self.until = self.at

    def stage(self, table: KeyedTable) -> None:
        if not self.in_event:
            self._outside(f"table {table.name!r} is written")
        self._staged.write(table)

    def check_owned(self, table: KeyedTable, key: Key) -> None:
        raw = record_key(key)
        given = map(self.row, range(self.given))
        if self.placement.belongs(raw) or raw in [batch.keys[row] for batch, row, _, _ in given]:
            return
        if not self.in_event:
            self._outside(f"table {table.name!r} is written")
        error = key_elsewhere(self.agent.name, table.name, key, self.tp)
        if self.given and self._stream is not None:
            self._stream.failed = error  # also if the agent catches it: the event lacks its write
        raise error

    def emit(self, record: OutboundRecord) -> None:
        if not self.in_event:
            self._outside(f"a record is sent to {record.tp.topic}")
        self._staged.sent.append(record)

    def fact(self, target: str | RowTarget, row: RowValues, *, name: str | None = None) -> None:
        found, fitted = self.state.context.targets.fitted(target, row, name)
        if not self.in_event:
            self._outside(f"a row of {found.name} is written")
        self._staged.facts.append(partial(self._owed.fact, found, fitted, name))

    def _outside(self, what: str) -> NoReturn:
        """Record the failure first: the agent may catch the exception."""
        self.failure = TableMisused(
            f"{what} by agent {self.agent.name} outside an event. Do it inside `async for event in "
            "stream`."
        )
        raise self.failure

    # --- E4 ----------------------------------------------------------------------------------

    def complete(self, stream: Stream) -> None:
        self.check_current(stream)
        staged = self._staged
        if staged.tables or staged.sent or staged.facts:
            try:
                staged.seal()
                staged.join(self._records)
            except Exception as error:
                stream.failed = error
                raise
        if self.waits.since_s is not None:
            self.waits.completed()
        given, self.given = self.given, 0
        if given == 1:
            self.at += 1
        else:
            self._step(given)

    async def over(self) -> NoReturn:
        await self.clock.sleep(_OVER_PAUSE_S)
        raise asyncio.CancelledError("this stream has ended")

    def _step(self, rows: int) -> None:
        for _ in range(rows):
            if self.at >= len(self.items):
                self._next_chunk()
            if type(self.items[self.at]) is BadPosition:
                self._refuse_row()
            else:
                self.at += 1

    def _pass_bad(self) -> None:
        """Skip completed fetches and dead-letter bad rows up to the next event."""
        while self._chunks:
            if self._chunks[0].items is not self.items or self.at >= len(self.items):
                if not self._next_chunk():
                    return
            elif type(self.items[self.at]) is BadPosition:
                self._refuse_row()
            else:
                return

    def _next_chunk(self) -> bool:
        """Go to the next fetch that has rows; False if there is none."""
        self._tell()
        self.items, self.at = (), 0
        for chunk in self._chunks:
            if chunk.items:
                self.items = chunk.items
                return True
        return False

    def _refuse_row(self) -> None:
        bad = self.items[self.at]
        self._dead_letter(bad.code, bad.message, "decode", 1)

    def refuse(self, code: str, message: str, attempts: int) -> None:
        """Dead-letter the event in turn; what it staged is dropped."""
        self._dead_letter(code, message, "process", attempts)

    def _dead_letter(self, code: str, message: str, stage: str, attempts: int) -> None:
        chunk = self._chunks[0]
        self._batch = chunk.batch
        code, message = self.progress.told_apart(code, message)
        origin = Origin.of(chunk.batch, self.at, self.state.context.epoch)
        self.poison.note(origin.key, origin.value, code)
        self._bury(origin, code, message, stage, self._tenant(self.at), attempts)
        self._batch = None
        self.progress.dead_by_code[code] += 1
        chunk.dead += 1
        self.at += 1
        self._tell()
        if self.failure is not None:
            raise self.failure

    def join_close(self, refused: RefusedClose | None) -> None:
        """What a closing window staged joins the next commit, with the dead letter of what was refused."""
        self._staged.join(self._records)
        if refused is not None:
            self._tell()
            letter = refused_close(
                self.agent, self.state, refused, self.progress.last_offset, self.clock.now_ms()
            )
            self._keep(letter)
            self._refused_closes[refused.error.code] += 1

    # --- E5 ----------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Enter complete events into `Progress` and drop complete fetches."""
        while self._chunks:
            chunk = self._chunks[0]
            done = self.at if chunk.items is self.items else 0
            if done < len(chunk.items):
                if done > chunk.told:
                    self._pass(chunk, done, chunk.batch.offsets[done - 1] + 1)
                return
            self._pass(chunk, done, chunk.batch.end)
            self._waiting_bytes -= chunk.bytes
            self._chunks.popleft()
            self.items, self.at, self.until = (), 0, 0
            if self._chunks and self._chunks[0].items:
                self.items = self._chunks[0].items

    def _pass(self, chunk: FetchedEvents, done: int, fold_offset: int) -> None:
        progress, batch, rows = self.progress, chunk.batch, done - chunk.told
        progress.read += rows
        progress.applied += rows - chunk.dead
        progress.gaps += fold_offset - progress.fold_offset - rows
        progress.fold_offset = fold_offset
        if not rows:
            return
        progress.last_offset = batch.offsets[done - 1]
        progress.last_append_ms = batch.timestamps[done - 1]
        passed, events = chunk.completed(done, fold_offset)
        progress.log_times(np.array(passed.timestamps, np.int64), self._expiry)
        progress.watermark_ms = max(progress.watermark_ms, chunk.watermark_ms[done - 1])
        self.history.intake.fold(passed)
        chunk.told, chunk.dead = done, 0
        try:
            self.poison.folded(passed, events)
        except PoisonStorm as storm:
            storm.codes = progress.dead_by_code - Counter(self.state.link.counters.dead_by_code)
            self.failure = storm

    @property
    def folded(self) -> int:
        self._tell()
        return super().folded

    def settles(self, offset: int) -> bool:
        self._tell()
        return super().settles(offset)

    def has_changes(self) -> bool:
        """False for a failed partition: it must not commit."""
        self._tell()
        self._wake_to_close()
        changed = any(table.changed for table in self._keyed.values())
        return self.failure is None and (changed or super().has_changes())

    def prepare(self, room: Sequence[int], spared: Any = ()) -> Prepared:
        self._tell()
        return super().prepare(room, spared)

    @property
    def settled(self) -> bool:
        changed = any(table.changed for table in self._keyed.values())
        return not (self._chunks or changed or self._closing.due) and super().settled

    # --- from outside ------------------------------------------------------------------------

    def idle_until(self, watermark_ms: int) -> None:
        if self._chunks:
            return
        super().idle_until(watermark_ms)
        self._wake_to_close()

    def _wake_to_close(self) -> None:
        """Windows may be due without an event: after a silence or a restart."""
        if self._closing.due and self.failure is None:
            self._run.start()
            self._wake.notify()

    def shed(self, order: ShedOrder) -> None:
        """X4. Cancels an event in progress below the order's end."""
        self._tell()
        before = self.progress.fold_offset
        super().shed(order)
        if self.progress.fold_offset == before:
            return
        self.drop()
        self._cut(self.progress.fold_offset)
        self._run.interrupt()

    def _cut(self, until: int) -> None:
        self._position = max(self._position, until)
        while self._chunks and self._chunks[0].batch.end <= until:
            self._waiting_bytes -= self._chunks.popleft().bytes
        self.items, self.at, self.until = (), 0, 0
        if self._chunks:
            chunk = self._chunks[0]
            self.items = chunk.items
            self.at = self.until = bisect_left(chunk.batch.offsets, until)
            chunk.skip(self.at)

    def abandon(self) -> None:
        self.drop()
        self._run.end()

    def check_current(self, stream: Stream) -> None:
        """Raises CancelledError for a stream that has ended."""
        if stream is not self._stream or stream.failed is not None:
            raise asyncio.CancelledError("this stream has ended")
