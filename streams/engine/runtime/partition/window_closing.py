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
from typing import Any, Final, Protocol

from streams.core.errors import BadRecord, Pending
from streams.core.records.bad_records import AgentTimeout
from streams.core.resilience.unread_error import read_error
from streams.core.topics.current_stream import current
from streams.engine.agents.stream_agent import Declared
from streams.engine.runtime.effects.refused_close import RefusedClose
from streams.engine.runtime.partition.agent_waits import AgentWaits
from streams.engine.runtime.partition.held_closes import (
    PASSING,
    HeldCloses,
    HeldWindow,
    fault,
    unowned,
)
from streams.engine.runtime.partition.known_partition import KnownPartition
from streams.engine.runtime.partition.staged import Staged
from streams.engine.runtime.partition.wait_shares import WaitShares
from streams.engine.state.key_owners import Owner
from streams.engine.state.keyed import KeyedTable
from streams.engine.streams.stream import Stream
from streams.engine.windows.windowed import WindowedTable

_SHARE: Final = 0.1
"""seconds a second that calls of some tenants may wait longer than those of others"""


class ClosingPartition(KnownPartition, Protocol):
    """The partition whose windows close."""

    waits: AgentWaits

    def check_current(self, stream: Stream) -> None: ...

    def closing_stream(self) -> Stream: ...

    def join_close(self, refused: RefusedClose | None) -> None: ...


class WindowClosing:
    def __init__(
        self,
        partition: ClosingPartition,
        staged: Staged,
        declared: Sequence[Declared],
        tables: Mapping[str, KeyedTable],
    ) -> None:
        settings = partition.settings
        self._partition = partition
        self._staged = staged
        self.unowned = unowned(partition.agent.source)
        self._windowed = {
            one.name: (table, getattr(one, "on_close", None))
            for one in declared
            if isinstance(table := tables[one.name], WindowedTable)
        }
        self.has_windows = bool(self._windowed)
        waits_ms = {name: one.windows.expires_ms or 0 for name, (one, _) in self._windowed.items()}
        self.held = HeldCloses(partition.tp, settings, partition.clock, waits_ms)
        self._timeout_s = settings.window_close_timeout_s
        self._waits = WaitShares(partition.clock, _SHARE, self._timeout_s)
        self._left_behind: dict[HeldWindow, asyncio.Task[Any]] = {}
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
        return self._is_due or self.held.next_due() is not None

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

    async def close_next(self, stream: Stream) -> None:
        """Close one entry: of the window that is due first, or a held one whose turn it is.

        Raises `AgentFailed` if callbacks of many tenants fail, CancelledError if ``stream`` ended meanwhile:
        another event may be in progress. Errors that are not about the window pass.
        """
        window = self._next()
        (table, on_close), entry = self._windowed[window.table], (window.key, window.start_ms)
        self.owner = owner = table.owner(entry) or self.unowned
        ordered = self.held.ordered_end(owner, window)
        if ordered is None and self._over(owner):
            table.set_aside(entry)
            self.held.rests(owner, window)
            return
        if window in self.held:
            if ordered is None and self._runs_on(window):
                why = "the last call of on_window_close has not ended yet"
                self.held.failed(owner, window, AgentTimeout.code, why, 0.0)
                return
            table.bring_back(entry)
        elif ordered is None and self.held.waits(owner):
            table.set_aside(entry)
            self.held.add(owner, window)
            return
        self.in_progress = True
        self._turns += 1
        turn, began_s = self._turns, self._partition.clock.monotonic()
        try:
            await self._close(stream, window, on_close, ordered)
        except PASSING:
            raise
        except asyncio.CancelledError:
            if window in self.held:
                table.set_aside(entry)
            raise
        except Exception as error:  # noqa: BLE001 - any other exception is about the window
            self._staged.drop()
            table.set_aside(entry)
            took_s = self._partition.clock.monotonic() - began_s
            self.held.failed(owner, window, *_fault(error), took_s)
        finally:
            if self._turns == turn:
                self.in_progress = False

    def _over(self, owner: Owner) -> bool:
        """Whether calls for this owner have had their share of the time, and there are other tenants."""
        tenant, events = owner or "", self._partition.waits.shares
        others = self._waits.knows_another(tenant) or events.knows_another(tenant)
        return others and self._waits.is_over(tenant)

    def _next(self) -> HeldWindow:
        """Held windows and others in turns."""
        held = None if self._is_due and self._turns % 2 else self.held.next_due()
        if held is not None:
            return held
        table, _ = min(self._windowed.values(), key=lambda one: one[0].due_in_ms())
        key, start_ms = table.oldest()
        return HeldWindow(table.name, key, start_ms, start_ms + table.windows.size_ms)

    def _runs_on(self, window: HeldWindow) -> bool:
        task = self._left_behind.get(window)
        if task is None or not task.done():
            return task is not None
        del self._left_behind[window]
        return False

    async def _close(
        self, stream: Stream, window: HeldWindow, on_close: Any, error: BadRecord | None
    ) -> None:
        """``error``: why the callback is not called."""
        table, entry = self._windowed[window.table][0], (window.key, window.start_ms)
        value = table[entry]
        del table[entry]
        if on_close is not None and error is None:
            named = window.key, (window.start_ms / 1000, window.end_ms / 1000)
            try:
                await self._call(window, on_close, named, value)
            except BadRecord as refused:
                error = refused
        self._partition.check_current(stream)
        refusal = self._seal(window, error)
        if refusal is not None and not self.held.may_write(self.owner, refusal.error):
            self._staged.drop()
            table.set_aside(entry)
            self.held.limited(self.owner, window, refusal.error.code)
            return
        self._partition.join_close(refusal)
        self._left_behind.pop(window, None)
        self.held.closed(self.owner, window)

    async def _call(self, window: HeldWindow, on_close: Any, key: Any, value: Any) -> None:
        """Raises what the callback raises, and `_Late` at its deadline."""
        try:
            called = on_close(key, value)
        except asyncio.CancelledError as error:
            raise _Cancelled from error
        if inspect.isawaitable(called):
            await self._wait(window, called)
        else:
            self._waits.passed(self.owner or "")

    async def _wait(self, window: HeldWindow, called: Awaitable[Any]) -> None:
        """With a stream of its own: what runs on after the deadline has no effect."""
        own = self._partition.closing_stream()
        context = copy_context()
        context.run(current.set, own)
        task = asyncio.create_task(_awaited(called), name="window-close", context=context)
        task.add_done_callback(read_error)
        clock, owner = self._partition.clock, self.owner or ""
        began_s = clock.monotonic()
        try:
            await clock.wait(task, self._timeout_s)
        finally:
            self._waits.waited(owner, clock.monotonic() - began_s)
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

    def _seal(self, window: HeldWindow, error: BadRecord | None) -> RefusedClose | None:
        """W2, with ``error`` of the callback; what was refused."""
        table, entry = self._windowed[window.table][0], (window.key, window.start_ms)
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
        return RefusedClose(*window, table.packed(entry), self.owner, error, sent)


class _Late(Exception):  # noqa: N818 - a signal: the window is held under another code
    """The deadline of a call passed."""


def _fault(error: Exception) -> tuple[str, str]:
    """Code and description."""
    if isinstance(error, _Late):
        return AgentTimeout.code, f"on_window_close {error}"
    return fault(error)


class _Cancelled(Exception):  # noqa: N818 - as above
    """The callback cancelled itself."""


async def _awaited(called: Awaitable[Any]) -> None:
    await called
