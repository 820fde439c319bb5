"""The newest messages of a topic as a state that moves on, in bounded memory and reads.

Unlike `follow`, it hands out no message twice or in turn: a reader that looks at it rarely sees the
newest ones and the number of those in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from streams.connect.broker.log_range import behind, read_some
from streams.core.errors import BatchUnreadable
from streams.core.types import LogReader, OffsetOutOfRange, TopicConfig, TopicPartition
from streams.operate.messages.message import TopicMessage
from streams.operate.messages.selection import TopicMessages

SHOWN_MAX: Final = 100
STEP_OFFSETS: Final = 2000
"""Offsets that one step reads at most, of all partitions together."""


@dataclass(slots=True)
class MessageTail:
    """``opened`` makes the reading of a reader. ``selected`` counts the messages since the start, ``skipped`` the offsets that came faster than
    they can be shown; they are not read. ``unreadable`` counts batches that cannot be opened."""

    opened: Callable[[LogReader], TopicMessages]
    newest: deque[TopicMessage] = field(default_factory=lambda: deque(maxlen=SHOWN_MAX))
    selected: int = 0
    skipped: int = 0
    unreadable: int = 0
    _at: dict[TopicPartition, int] = field(default_factory=dict)

    async def step(self, reader: LogReader, present: Mapping[str, TopicConfig]) -> None:
        """Read what became readable since the last step; the first one only marks the ends. Raises
        as `LogReader`, and `UnknownTopic`."""
        reading = self.opened(reader)
        if not self._at:
            self._at = {one.tp: one.end for one in await reading.ranges(present)}
            return
        bounds = await reader.bounds(self._at)
        ends = {tp: one.stable_end for tp, one in bounds.items() if one.stable_end > self._at[tp]}
        for tp, end in ends.items():
            first = max(self._at[tp], end - max(1, STEP_OFFSETS // len(ends)))
            self.skipped += first - self._at[tp]
            self._at[tp] = first
            await self._read(reading, tp, end)

    def messages(self) -> list[TopicMessage]:
        """Newest first."""
        return sorted(self.newest, key=lambda one: (one.at_ms, one.offset), reverse=True)

    def figures(self) -> dict[str, Any]:
        return {
            "selected": self.selected,
            "skipped": self.skipped,
            "unreadable": self.unreadable,
        }

    async def _read(self, reading: TopicMessages, tp: TopicPartition, end: int) -> None:
        reader = reading.reader
        while self._at[tp] < end:
            at = self._at[tp]
            try:
                batch = await read_some(reader, tp, at, end, reading.page_records)
            except BatchUnreadable as error:
                self._at[tp] = behind(error, end)
                self.unreadable += 1
                continue
            except OffsetOutOfRange:
                self._at[tp] = max(at + 1, await reader.beginning_offset(tp))
                continue
            self._at[tp] = batch.end
            found = await reading.select(batch)
            self.selected += len(found)
            self.newest += found
