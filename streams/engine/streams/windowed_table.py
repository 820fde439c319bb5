"""A declared table whose values belong to windows of event time.

    views = app.Table("views", default=int).tumbling(60, expires=3600)

    async for view in stream:
        views[view.page] += 1                       # every window that holds the event
        last_minute = views[view.page].delta(60)    # the window of a minute ago

The event time is the topic's time field, else the append time, or the field of `relative_to_field`.
It decides which windows an assignment changes, and which one `value` reads. Times are seconds, as
in Faust.
"""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable, Iterator
from copy import copy
from datetime import datetime, timedelta
from typing import Any, Self, TypeAlias

from streams.core.errors import TableMisused, UsageError
from streams.core.topics.current_stream import current
from streams.engine.state.table_values import Key
from streams.engine.streams.declared_table import DeclaredTable
from streams.engine.streams.stream import Event
from streams.engine.windows.windowed import WindowedTable, Windows

Seconds: TypeAlias = float | timedelta
WindowKey: TypeAlias = tuple[Key, tuple[float, float]]
"""A key, and begin and end of its window in seconds since the Unix epoch."""
OnClose: TypeAlias = Callable[[WindowKey, Any], Awaitable[None] | None]
_TimeOf: TypeAlias = Callable[[Event], float]


class WindowedDeclaration(DeclaredTable):
    """``on_close`` is called once for each key of a window that closes; its writes and sends are in
    the transaction that removes the entry."""

    windows: Windows
    on_close: OnClose | None

    def __init__(
        self, table: DeclaredTable, windows: Windows, on_close: OnClose | None = None
    ) -> None:
        super().__init__(
            table.name,
            default=table.default,
            value_type=table.value_type,
            keys=table.keys_are,
        )
        if on_close is not None and windows.expires_ms is None:
            raise UsageError(
                f"table {self.name!r} has on_window_close, but its windows never close: give "
                "expires=SECONDS."
            )
        self.windows = windows
        self.on_close = on_close
        self._time_of: _TimeOf = _event_time
        self._now = False
        self._of_event: Event | None = None
        self._by_field = [False]
        """whether a reader of this table uses a field's time; shared by all copies"""

    def empty(self, max_bytes: int = 1 << 62) -> WindowedTable:
        return WindowedTable(
            self.name,
            self.form(),
            self.windows,
            own_time=self._by_field[0],
            default=self.default,
            any_key=self.keys_are == "any",
            max_bytes=max_bytes,
            declaration=self.declaration(),
        )

    def declaration(self) -> dict[str, Any]:
        windows = {"size_ms": self.windows.size_ms, "step_ms": self.windows.step_ms}
        return {**super().declaration(), "kind": "windowed", **windows}

    # --- which time counts -------------------------------------------------------------------

    def relative_to_now(self) -> WindowedDeclaration:
        """`value` reads the window of the newest event of the partition."""
        return self._relative(_event_time, now=True)

    def relative_to_stream(self) -> WindowedDeclaration:
        """`value` reads the window of the event in progress: the default."""
        return self._relative(_event_time)

    def relative_to_field(self, field: Any) -> WindowedDeclaration:
        """The time of an event is its ``field``: a name, or a field of a faust.Record; seconds
        since the Unix epoch, a datetime, or its ISO form. Windows then close by the latest such
        time."""
        name = field if isinstance(field, str) else getattr(field, "field", None)
        if not isinstance(name, str):
            raise UsageError(f"relative_to_field({field!r}): name a field of the event.")
        self._by_field[0] = True
        return self._relative(lambda event: _seconds(getattr(event.value, name)))

    def at(self, event: Event) -> WindowedDeclaration:
        """The table with ``event`` as the one in progress, for lists of events."""
        made = copy(self)
        made._of_event = event  # noqa: SLF001 - of the same class
        return made

    def _relative(self, time_of: _TimeOf, *, now: bool = False) -> WindowedDeclaration:
        made = copy(self)
        made._time_of, made._now = time_of, now  # noqa: SLF001 - of the same class
        return made

    # --- inside an agent ---------------------------------------------------------------------

    @property
    def part(self) -> WindowedTable:
        table: WindowedTable = current.get().tables[self.name]
        return table

    def time_ms(self, event: Event | None = None) -> int:
        """The time of ``event``, by default of the one in progress."""
        if event is None and self._of_event is None and self._time_of is _event_time:
            at_ms: int | None = getattr(current.get(), "current_event_ms", None)
            if at_ms is not None:
                return at_ms
        event = event if event is not None else self._event()
        return int(self._time_of(event) * 1000)

    def now_ms(self) -> int:
        return max(self.part.time_ms, self.time_ms())

    def read_ms(self, event: Event | None) -> int:
        """The time that `WindowSet.value` reads at."""
        return self.now_ms() if self._now and event is None else self.time_ms(event)

    def _event(self) -> Event:
        event: Event | None = self._of_event or getattr(current.get(), "current_event", None)
        if event is None:
            raise TableMisused(
                f"windows of table {self.name!r} need an event, and none is in progress. In a list "
                f"of stream.take_events(), name it: {self.name}.at(event)[key] += 1"
            )
        return event

    def __getitem__(self, key: Key) -> WindowSet:
        return WindowSet(self, key)

    def __setitem__(self, key: Key, value: Any) -> None:
        if isinstance(value, WindowSet):
            return  # assigned at the end of `table[key] += 1`
        for table, start_ms in self.written():
            table[key, start_ms] = value

    def written(self) -> Iterator[tuple[WindowedTable, int]]:
        """The partition's table, and the start of each window that the event in progress writes."""
        table, at_ms = self.part, self.time_ms()
        table.observe(at_ms)
        for start_ms in self.windows.starts(at_ms):
            yield table, start_ms

    def __delitem__(self, key: Key) -> None:
        table = self.part
        for start_ms in self.windows.starts(self.time_ms()):
            table.pop((key, start_ms), None)

    def __contains__(self, key: object) -> bool:
        return (key, self.windows.latest(self.read_ms(None))) in self.part

    def keys(self) -> list[Key]:
        """The keys of the window that `WindowSet.value` reads."""
        return self.part.names(self.windows.latest(self.read_ms(None)))

    def values(self) -> list[Any]:
        return [self[key].value() for key in self.keys()]

    def items(self) -> list[tuple[Key, Any]]:
        return [(key, self[key].value()) for key in self.keys()]

    def __iter__(self) -> Iterator[Key]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())


class WindowSet:
    def __init__(self, table: WindowedDeclaration, key: Key) -> None:
        self._table = table
        self._key = key

    def apply(self, change: Callable[[Any, Any], Any], other: Any) -> Self:
        """``value = change(value, other)`` in every window that holds the event."""
        key = self._key
        for table, start_ms in self._table.written():
            table[key, start_ms] = change(table[key, start_ms], other)
        return self

    def value(self, event: Event | None = None) -> Any:
        """In the latest window of the time that the table is relative to."""
        return self._at(self._table.read_ms(event))

    def current(self, event: Event | None = None) -> Any:
        """In the latest window that holds the event."""
        return self._at(self._table.time_ms(event))

    def now(self) -> Any:
        """In the first window that holds the newest event of the partition."""
        starts = self._table.windows.starts(self._table.now_ms())
        return self._table.part[self._key, starts[0]]

    def delta(self, d: Seconds, event: Event | None = None) -> Any:
        """In the latest window of the time ``d`` before the event."""
        return self._at(self._table.time_ms(event) - duration_ms(d))

    def _at(self, at_ms: int) -> Any:
        return self._table.part[self._key, self._table.windows.latest(at_ms)]

    def __iadd__(self, other: Any) -> Self:
        return self.apply(operator.add, other)

    def __isub__(self, other: Any) -> Self:
        return self.apply(operator.sub, other)

    def __imul__(self, other: Any) -> Self:
        return self.apply(operator.mul, other)

    def __itruediv__(self, other: Any) -> Self:
        return self.apply(operator.truediv, other)

    def __ifloordiv__(self, other: Any) -> Self:
        return self.apply(operator.floordiv, other)

    def __imod__(self, other: Any) -> Self:
        return self.apply(operator.mod, other)

    def __ipow__(self, other: Any) -> Self:
        return self.apply(operator.pow, other)

    def __iand__(self, other: Any) -> Self:
        return self.apply(operator.and_, other)

    def __ior__(self, other: Any) -> Self:
        return self.apply(operator.or_, other)

    def __ixor__(self, other: Any) -> Self:
        return self.apply(operator.xor, other)

    def __repr__(self) -> str:
        return f"<windows of {self._key!r} in {self._table!r}>"


def duration_ms(duration: Seconds) -> int:
    """Whole milliseconds of seconds or a timedelta."""
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    return round(seconds * 1000)


def windows_of(table: str, size: Seconds, step: Seconds, expires: Seconds | None) -> Windows:
    """Raises `UsageError` for invalid sizes."""
    size_ms, step_ms = duration_ms(size), duration_ms(step)
    expires_ms = None if expires is None else duration_ms(expires)
    if not 0 < step_ms <= size_ms or (expires_ms or 0) < 0:
        raise UsageError(
            f"windows of table {table!r}: size {size_ms} ms, step {step_ms} ms, expires "
            f"{expires_ms} ms; a step must be more than 0 and at most the size."
        )
    return Windows(size_ms=size_ms, step_ms=step_ms, expires_ms=expires_ms)


def _event_time(event: Event) -> float:
    return event.event_ms / 1000


def _seconds(value: Any) -> float:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.timestamp() if isinstance(value, datetime) else float(value)
