"""Closes windows of a stream agent's tables between two events, entry by entry.

 W1  stage the removal of the entry, and what `on_window_close` writes, sends and owes
 W2  weigh the writes for the owner of the window, before any table changes
 W3  all of it joins one commit, also if a crash repeats the callback

A `BadRecord` refuses the callback, and the window closes all the same: at W1 nothing of the callback
joins, at W2 what it sent and its rows, and none of its writes. A dead letter of stage ``window`` keeps
the window. After any other error, or at its deadline, the window is held (held_closes.py).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Mapping, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from streams.core.errors import (
    AgentFailed,
    BadRecord,
    DiaError,
    PartitionRestart,
    PartitionStopped,
    Pending,
    WorkerStopped,
)
from streams.core.records.bad_records import AgentTimeout, WindowDropped
from streams.core.topics.current_stream import current
from streams.engine.agents.stream_agent import Declared
from streams.engine.runtime.effects.refused_close import RefusedClose
from streams.engine.runtime.offsets.close_order import CloseOrder
from streams.engine.runtime.partition.held_closes import HeldCloses, what_failed
from streams.engine.runtime.partition.staged import Staged
from streams.engine.runtime.poison.quarantine import LetterRate
from streams.engine.state.key_owners import SHARED, Owner
from streams.engine.state.keyed import KeyedTable
from streams.engine.state.table_values import Key
from streams.engine.streams.stream import Stream
from streams.engine.windows.windowed import WindowedTable

if TYPE_CHECKING:
    from streams.engine.runtime.partition.stream_partition import StreamPartition

_PASSING: Final = (PartitionStopped, PartitionRestart, WorkerStopped, Pending)
"""errors of a callback that are not about its window"""

log = structlog.get_logger(__name__)


class _Window(NamedTuple):
    table: str
    entry: tuple[Key, int]


class WindowClosing:
    def __init__(
        self,
        partition: StreamPartition,
        staged: Staged,
        declared: Sequence[Declared],
        tables: Mapping[str, KeyedTable],
    ) -> None:
        settings = partition.state.context.settings
        self._partition = partition
        self._staged = staged
        self._unowned: Owner = SHARED if partition.agent.source.tenant_field else ""
        """of windows that no single tenant made"""
        self._windowed = {
            one.name: (table, getattr(one, "on_close", None))
            for one in declared
            if isinstance(table := tables[one.name], WindowedTable)
        }
        self.has_windows = bool(self._windowed)
        self.held: HeldCloses[_Window] = HeldCloses(partition.tp, settings, partition.clock)
        self.order: CloseOrder | None = None
        self._ordered: list[_Window] = []
        """held windows that the order covers"""
        self._timeout_s = settings.window_close_timeout_s
        self._letters_per_s = max(1.0, settings.quarantine_letters_per_s)
        self._letters = LetterRate(self._letters_per_s)
        self._left_behind: dict[_Window, asyncio.Task[Any]] = {}
        """calls that did not end at their deadline"""
        self.in_progress = False
        """the callback may write and send"""
        self.owner: Owner = ""
        """of the window in progress, for which its writes count"""
        self._turns = 0

    @property
    def due(self) -> bool:
        if not self.has_windows:
            return False
        return self._is_due or bool(self._ordered) or self.held.next_due() is not None

    @property
    def _is_due(self) -> bool:
        return any(table.due_in_ms() <= 0 for table, _ in self._windowed.values())

    @property
    def closes_next_ms(self) -> int:
        """The event time of the partition at which the next window closes. Tables with a time of their
        own have none: 0."""
        return min(
            0 if table.own_time else table.closes_next_ms for table, _ in self._windowed.values()
        )

    def take_order(self, order: CloseOrder) -> None:
        """H5."""
        if self.order is None or self.order.id != order.id:
            self.order = order
            self._ordered = [window for owner, window in self.held.windows() if self._drops(window)]

    def _drops(self, window: _Window) -> bool:
        table, (name, start_ms) = self._windowed[window.table][0], window.entry
        owner = table.owner((name, start_ms)) or self._unowned
        order = self.order
        return order is not None and order.covers(
            table.name, owner, start_ms + table.windows.size_ms
        )

    async def close_next(self, stream: Stream) -> None:
        """Close one entry: of the window that is due first, or a held one whose turn it is.

        Raises `AgentFailed` if callbacks of many tenants fail, CancelledError if ``stream`` ended meanwhile:
        another event may be in progress. Errors that are not about the window pass.
        """
        window = self._next_held() or self._oldest()
        table, on_close = self._windowed[window.table]
        self.owner = owner = table.owner(window.entry) or self._unowned
        if window in self.held:
            if self._runs_on(window):
                self._hold(window, AgentTimeout.code, "its last call has not ended yet", 0.0)
                return
            table.bring_back(window.entry)
        elif self.held.waits(owner):
            table.set_aside(window.entry)
            self.held.add(owner, window)
            return
        self.in_progress = True
        self._turns += 1
        turn, began_s = self._turns, self._partition.clock.monotonic()
        try:
            await self._close(stream, window, on_close)
        except (*_PASSING, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - any other exception is about the window
            self._staged.drop()
            table.set_aside(window.entry)
            took_s = self._partition.clock.monotonic() - began_s
            self._hold(window, *_fault(error), took_s)
        finally:
            if self._turns == turn:
                self.in_progress = False

    def _next_held(self) -> _Window | None:
        while self._ordered:
            window = self._ordered.pop()
            if window in self.held:
                return window
        return None if self._is_due and self._turns % 2 else self.held.next_due()

    def _oldest(self) -> _Window:
        table, _ = min(self._windowed.values(), key=lambda one: one[0].due_in_ms())
        return _Window(table.name, table.oldest())

    def _runs_on(self, window: _Window) -> bool:
        task = self._left_behind.get(window)
        if task is None or not task.done():
            return task is not None
        del self._left_behind[window]
        return False

    def _hold(self, window: _Window, code: str, why: str, took_s: float) -> None:
        self.held.failed(self.owner, window, window.table, code, why, took_s)

    def _ordered_end(self, window: _Window) -> BadRecord | None:
        order = self.order
        if order is None or not (window in self.held or order.untried) or not self._drops(window):
            return None
        return WindowDropped(f"by order of {order.actor}: {order.reason}")

    async def _close(self, stream: Stream, window: _Window, on_close: Any) -> None:
        table, entry = self._windowed[window.table][0], window.entry
        value, error = table[entry], self._ordered_end(window)
        del table[entry]
        if on_close is not None and error is None:
            key, start_ms = entry
            end_ms = start_ms + table.windows.size_ms
            named = key, (start_ms / 1000, end_ms / 1000)
            try:
                await self._call(window, on_close, named, value)
            except BadRecord as refused:
                error = refused
        self._partition.check_current(stream)
        refusal = self._seal(table, entry, error)
        limited = refusal is not None and not isinstance(error, WindowDropped)
        if refusal is not None and limited and not self._may_write_letter():
            self._staged.drop()
            table.set_aside(entry)
            self.held.limited(
                self.owner, window, table.name, refusal.error.code, 1 / self._letters_per_s
            )
            return
        self._partition.join_close(refusal)
        self.held.closed(self.owner, window)

    def _may_write_letter(self) -> bool:
        account = (self.owner or "").encode(errors="replace")
        return self._letters.take(account, self._partition.clock.monotonic())

    async def _call(self, window: _Window, on_close: Any, key: Any, value: Any) -> None:
        """Raises what the callback raises, and `_Late` at its deadline."""
        try:
            called = on_close(key, value)
        except asyncio.CancelledError as error:
            raise _Cancelled from error
        if inspect.isawaitable(called):
            await self._wait(window, called)

    async def _wait(self, window: _Window, called: Awaitable[Any]) -> None:
        """With a stream of its own: what runs on after the deadline has no effect."""
        own = self._partition.closing_stream()
        context = copy_context()
        context.run(current.set, own)
        task = asyncio.create_task(_awaited(called), name="window-close", context=context)
        task.add_done_callback(_looked_at)
        try:
            await self._partition.clock.wait(task, self._timeout_s)
        finally:
            own.end()
            if not task.done():
                task.cancel()
        if not task.done():
            self._left_behind[window] = task
            raise _Late(f"waited longer than DIA_WINDOW_CLOSE_TIMEOUT_S={self._timeout_s:g}")
        if task.cancelled():
            raise _Cancelled
        if isinstance(own.failed, Pending):
            raise own.failed
        await task

    def _seal(
        self, table: WindowedTable, entry: tuple[Key, int], error: BadRecord | None
    ) -> RefusedClose | None:
        """W2, with ``error`` of the callback; what was refused."""
        staged, sent = self._staged, error is None
        if error is None:
            try:
                staged.seal()
            except BadRecord as refused:
                error = refused
                staged.drop_writes()
            else:
                return None
        else:
            staged.drop()
        del table[entry]
        staged.seal()
        key, start_ms = entry
        end_ms = start_ms + table.windows.size_ms
        return RefusedClose(
            table.name, key, start_ms, end_ms, table.packed(entry), self.owner, error, sent
        )


class _Late(Exception):  # noqa: N818 - a signal: the window is held under another code
    """The deadline of a call passed."""


def _fault(error: Exception) -> tuple[str, str]:
    """Code and description."""
    if isinstance(error, _Late):
        return AgentTimeout.code, f"on_window_close {error}"
    code = error.code if isinstance(error, DiaError) else AgentFailed.code
    return code, what_failed(error)


class _Cancelled(Exception):  # noqa: N818 - as above
    """The callback cancelled itself."""


async def _awaited(called: Awaitable[Any]) -> None:
    await called


def _looked_at(task: asyncio.Task[Any]) -> None:
    """Retrieve the exception of a call that was left behind."""
    if not task.cancelled():
        task.exception()
