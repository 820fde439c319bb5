"""Closes windows of a stream agent's tables between two events, entry by entry.

The effects of the close callback are staged and join together with the removal of the entry. So one
commit holds both, also if a crash repeats the callback.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from streams.core.errors import AgentFailed, DiaError
from streams.engine.agents.stream_agent import Declared
from streams.engine.state.keyed import KeyedTable
from streams.engine.streams.stream import Stream
from streams.engine.windows.windowed import WindowedTable

if TYPE_CHECKING:
    from streams.engine.runtime.partition.stream_partition import StreamPartition


class WindowClosing:
    def __init__(
        self,
        partition: StreamPartition,
        declared: Sequence[Declared],
        tables: Mapping[str, KeyedTable],
    ) -> None:
        self._partition = partition
        self._windowed = [
            (table, getattr(one, "on_close", None))
            for one in declared
            if isinstance(table := tables[one.name], WindowedTable)
        ]
        self.has_windows = bool(self._windowed)
        self.in_progress = False
        """the callback may write and send"""
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
        event may be in progress. `DiaError`, ConnectionError and TimeoutError pass.
        """
        table, on_close = min(self._windowed, key=lambda one: one[0].due_in_ms())
        key, start_ms = table.oldest()
        self.in_progress = True
        self.entries += 1
        turn = self.entries
        try:
            value = table[key, start_ms]
            del table[key, start_ms]
            if on_close is not None:
                end_ms = start_ms + table.windows.size_ms
                await _call(table, on_close, (key, (start_ms / 1000, end_ms / 1000)), value)
            self._partition.check_current(stream)
            self._partition.join()
        finally:
            if self.entries == turn:
                self.in_progress = False


async def _call(table: WindowedTable, on_close: Any, key: Any, value: Any) -> None:
    try:
        called = on_close(key, value)
        if inspect.isawaitable(called):
            await called
    except (DiaError, ConnectionError, TimeoutError):
        raise
    except Exception as error:
        raise AgentFailed(
            f"on_window_close of table {table.name!r} raised {error!r} on {key!r}. The window stays "
            f"open. Fix it and restart the worker."
        ) from error
