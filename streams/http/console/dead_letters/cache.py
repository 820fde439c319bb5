"""Caches the dead letters of a short DLQ, and reads only new ones.

Without it each viewer would decode the whole queue. A long queue, or one with large values, is
scanned for each request."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from streams.connect.cache.cached_value import CachedValue
from streams.core.clock import Clock
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.core.types import TopicPartition
from streams.http.console.logs import Logs
from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.dlq.queues import queues_in
from streams.operate.dlq.scan import OffsetSpan, bounds, scan

FRESH_S: Final = 2.0
OFFSETS_MAX: Final = 20_000
"""Of all partitions; a record with headers takes about 1.5 kB beside its value."""
BYTES_MAX: Final = 16 << 20
"""of keys and values"""
_PAGE: Final = 1000


class CachedDeadLetters(NamedTuple):
    """The queue's content at one moment, by partition in offset order."""

    spans: Sequence[OffsetSpan]
    letters: Mapping[TopicPartition, Sequence[DeadLetterRecord]]

    def between(self, span: OffsetSpan) -> Sequence[DeadLetterRecord]:
        """The dead letters of a part of one of ``spans``."""
        kept = self.letters[span.tp]
        first, last = (bisect_left(kept, at, key=_offset) for at in (span.start, span.end))
        return kept[first:last]


class DeadLetterCache:
    """Of one queue, for all callers; the caller applies access rights."""

    def __init__(self, source: Topic, topology: Topology, logs: Logs, clock: Clock) -> None:
        self._source = source
        self._topology = topology
        self._logs = logs
        self._held = CachedDeadLetters((), {})
        self._recent = CachedValue(self._read, FRESH_S, clock)

    async def read(self) -> CachedDeadLetters | None:
        """At most `FRESH_S` old; None when too large to cache. Raises as `scan`, and
        `UnknownTopic`."""
        return await self._recent.get()

    async def close(self) -> None:
        await self._recent.close()

    async def _read(self) -> CachedDeadLetters | None:
        [queue] = queues_in(await self._logs.topics(), self._topology, (self._source.name,))
        async with self._logs.reader() as reader:
            spans = await bounds(reader, *queue)
            before, self._held = self._held, CachedDeadLetters((), {})
            if sum(span.offsets for span in spans) > OFFSETS_MAX:
                return None
            ends = {span.tp: span.end for span in before.spans}
            letters: dict[TopicPartition, Sequence[DeadLetterRecord]] = {}
            for span in spans:
                # A log that ends before the known end was recreated.
                known = ends.get(span.tp, -1)
                goes_on = span.start <= known <= span.end
                kept = [*before.between(span)] if goes_on else []
                rest = span._replace(start=known) if goes_on else span
                async for page in scan(reader, [rest], self._topology, _PAGE, aside=True):
                    kept += page
                letters[span.tp] = kept
        if sum(_bytes(letter) for kept in letters.values() for letter in kept) > BYTES_MAX:
            return None
        self._held = CachedDeadLetters(spans, letters)
        return self._held


def _offset(letter: DeadLetterRecord) -> int:
    return letter.offset


def _bytes(letter: DeadLetterRecord) -> int:
    return len(letter.key or b"") + len(letter.value or b"")
