"""A keyed table with an entry for each key and window of event time
(docs/protocols/stream_agents.md)."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, cast

from streams.core.records.bad_records import WindowClosed
from streams.engine.state.keyed import KeyedTable, Writer
from streams.engine.state.table import Entry
from streams.engine.state.table_values import Key, ValueForm, key_bytes, key_of

NEVER_MS = 1 << 62
_TIME = b"\xc0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """All times in milliseconds. ``step_ms`` equal to ``size_ms``: tumbling. ``expires_ms`` None:
    windows never close."""

    size_ms: int
    step_ms: int
    expires_ms: int | None = None

    def starts(self, at_ms: int) -> range:
        """Starts of all windows that hold ``at_ms``, ascending."""
        last = self.latest(at_ms)
        count = (last + self.size_ms - at_ms - 1) // self.step_ms
        return range(last - count * self.step_ms, last + 1, self.step_ms)

    def latest(self, at_ms: int) -> int:
        """The start of the last window that begins at or before ``at_ms``."""
        return at_ms // self.step_ms * self.step_ms

    def closes_ms(self, start_ms: int) -> int:
        """The event time at which a window closes."""
        if self.expires_ms is None:
            return NEVER_MS
        return start_ms + self.size_ms + self.expires_ms


class TimedWriter(Writer, Protocol):
    @property
    def event_time_ms(self) -> int:
        """The event time before the event in progress."""
        ...

    @property
    def appended_ms(self) -> int:
        """The latest append time of the events in progress."""
        ...

    def window_began(self) -> None:
        """An event that completes begins a window, which may close before all others."""
        ...


class WindowedTable(KeyedTable):
    """Its keys are pairs: a key, and the start of a window.

    ``own_time``: the event time is the latest that `observe` noted of a complete event, not the
    partition's; it is stored under MessagePack's nil.
    """

    def __init__(
        self,
        name: str,
        form: ValueForm,
        windows: Windows,
        *,
        own_time: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(name, form, **options)
        self.windows = windows
        self.own_time = own_time
        self._time_ms = -NEVER_MS
        self._staged_time_ms = -NEVER_MS
        self._time_changed = False
        self._by_start: dict[int, dict[Key, None]] = {}
        self._starts: list[int] = []
        """heap of the keys of ``_by_start``"""

    def observe(self, at_ms: int) -> None:
        """Note the time of the event in progress, no later than its append: no tenant's times close windows of
        others early. It counts if the event completes, also if the next write is refused."""
        if not self.own_time:
            return
        if self._staged_time_ms == -NEVER_MS:
            self._begin()
        at_ms = min(at_ms, cast(TimedWriter, self.writer).appended_ms)
        self._staged_time_ms = max(self._staged_time_ms, at_ms)

    @property
    def time_ms(self) -> int:
        """The event time of the complete events, which closes windows."""
        if self.own_time:
            return self._time_ms
        writer = cast(TimedWriter | None, self.writer)
        return writer.event_time_ms if writer is not None else -NEVER_MS

    def _check_new(self, key: tuple[Key, int]) -> None:
        if self.time_ms >= self.windows.closes_ms(key[1]):
            raise WindowClosed(
                f"the window of table {self.name!r} from {key[1]} ms is closed: the event time, "
                f"{self.time_ms} ms, is past its end and expires, {self.windows.expires_ms} ms. "
                "Let windows expire later, or catch this error."
            )
        super()._check_new(key)

    def join(self) -> None:
        changed = [*(self._staged if self._plain else self._sealed)]
        if self.own_time and self._staged_time_ms > self._time_ms:
            self._time_ms, self._time_changed = self._staged_time_ms, True
        super().join()
        for key in changed:
            self._index(key)

    def drop(self) -> None:
        self._staged_time_ms = -NEVER_MS
        super().drop()

    def delta(self, seq: int) -> list[Entry]:
        entries = super().delta(seq)
        if self._time_changed:
            entries.append((_TIME, key_bytes(self._time_ms)))
            self._time_changed = False
        return entries

    def rewrite(self, key: bytes, value: bytes) -> None:
        if key == _TIME:
            self._time_changed = True
        else:
            super().rewrite(key, value)

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        super().load(self._without_time(items))
        for key in self._kept:
            self._index(key)

    def _without_time(self, items: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        for raw, data in items:
            if raw == _TIME:
                self._time_ms = key_of(data)
            else:
                yield raw, data

    def _index(self, key: tuple[Key, int]) -> None:
        name, start_ms = key
        keys = self._by_start.get(start_ms)
        if key in self._kept:
            if keys is None:
                keys = self._by_start[start_ms] = {}
                heapq.heappush(self._starts, start_ms)
                if self.writer is not None:
                    cast(TimedWriter, self.writer).window_began()
            keys[name] = None
        elif keys is not None:
            keys.pop(name, None)

    def due_in_ms(self) -> int:
        """Event time until the next window must close; 0 or less: one must."""
        return self.closes_next_ms - self.time_ms

    @property
    def closes_next_ms(self) -> int:
        """The event time at which the oldest window closes."""
        while self._starts and not self._by_start[self._starts[0]]:
            del self._by_start[heapq.heappop(self._starts)]
        return self.windows.closes_ms(self._starts[0]) if self._starts else NEVER_MS

    def oldest(self) -> tuple[Key, int]:
        """A key of the oldest window, and its start."""
        start_ms = self._starts[0]
        return next(iter(self._by_start[start_ms])), start_ms

    def set_aside(self, entry: tuple[Key, int]) -> None:
        """Hide a due entry from events and from `oldest`; its state and its owner's bytes stay. Nothing for
        an entry that is set aside."""
        if entry in self._kept:
            self._weighing.set_aside(entry)
            self._aside[entry] = self._kept.pop(entry)
            self._index(entry)

    def bring_back(self, entry: tuple[Key, int]) -> None:
        """The inverse; nothing for an entry that is not set aside."""
        if entry in self._aside:
            self._kept[entry] = self._aside.pop(entry)
            self._index(entry)

    def names(self, start_ms: int) -> list[Key]:
        found = self._by_start.get(start_ms, {})
        staged = [key for key, start in self._staged if start == start_ms]
        return [key for key in {**found, **dict.fromkeys(staged)} if (key, start_ms) in self]
