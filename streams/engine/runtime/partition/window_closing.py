"""Closes windows of a stream agent's tables between two events, entry by entry.

 W1  stage the removal of the entry, and what `on_window_close` writes, sends and owes
 W2  weigh the writes for the owner of the window, before any table changes
 W3  all of it joins one commit, also if a crash repeats the callback

A `BadRecord` refuses the callback, and the window closes all the same: at W1 nothing of the callback
joins, at W2 what it sent and its rows, and none of its writes. A dead letter of stage ``window`` keeps
the window.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from streams.core.errors import AgentFailed, BadRecord, DiaError
from streams.engine.agents.stream_agent import Declared
from streams.engine.runtime.effects.refused_close import RefusedClose
from streams.engine.runtime.partition.staged import Staged
from streams.engine.state.key_owners import SHARED, Owner
from streams.engine.state.keyed import KeyedTable
from streams.engine.state.table_values import Key
from streams.engine.streams.stream import Stream
from streams.engine.windows.windowed import WindowedTable

if TYPE_CHECKING:
    from streams.engine.runtime.partition.stream_partition import StreamPartition


class WindowClosing:
    def __init__(
        self,
        partition: StreamPartition,
        staged: Staged,
        declared: Sequence[Declared],
        tables: Mapping[str, KeyedTable],
    ) -> None:
        self._partition = partition
        self._staged = staged
        self._unowned: Owner = SHARED if partition.agent.source.tenant_field else ""
        """of windows that no single tenant made"""
        self._windowed = [
            (table, getattr(one, "on_close", None))
            for one in declared
            if isinstance(table := tables[one.name], WindowedTable)
        ]
        self.has_windows = bool(self._windowed)
        self.in_progress = False
        """the callback may write and send"""
        self.owner: Owner = ""
        """of the window in progress, for which its writes count"""
        self.entries = 0
        """closed entries, including the one in progress"""

    @property
    def due(self) -> bool:
        return self.has_windows and any(table.due_in_ms() <= 0 for table, _ in self._windowed)

    @property
    def closes_next_ms(self) -> int:
        """The event time of the partition at which the next window closes. Tables with a time of their
        own have none: 0."""
        return min(0 if table.own_time else table.closes_next_ms for table, _ in self._windowed)

    async def close_next(self, stream: Stream) -> None:
        """Close one entry of the window that is due first.

        Raises `AgentFailed` if the callback fails, CancelledError if ``stream`` ended meanwhile: another
        event may be in progress. Other `DiaError`, ConnectionError and TimeoutError pass.
        """
        table, on_close = min(self._windowed, key=lambda one: one[0].due_in_ms())
        entry = table.oldest()
        self.in_progress = True
        self.owner = table.owner(entry) or self._unowned
        self.entries += 1
        turn = self.entries
        try:
            value, error = table[entry], None
            del table[entry]
            if on_close is not None:
                key, start_ms = entry
                end_ms = start_ms + table.windows.size_ms
                error = await _call(table, on_close, (key, (start_ms / 1000, end_ms / 1000)), value)
            self._partition.check_current(stream)
            self._partition.join_close(self._seal(table, entry, error))
        finally:
            if self.entries == turn:
                self.in_progress = False

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


async def _call(table: WindowedTable, on_close: Any, key: Any, value: Any) -> BadRecord | None:
    """The error that refuses the window, if the callback raised one."""
    try:
        called = on_close(key, value)
        if inspect.isawaitable(called):
            await called
    except BadRecord as refused:
        return refused
    except (DiaError, ConnectionError, TimeoutError):
        raise
    except Exception as error:
        raise AgentFailed(
            f"on_window_close of table {table.name!r} raised {error!r} on {key!r}. The window stays "
            f"open. Fix it and restart the worker."
        ) from error
    return None
