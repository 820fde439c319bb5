"""Effects of replication in the in-memory broker: new leaders and late markers.

A new leader's high watermark is lower than its predecessor's until its followers report: reads end
there and ListOffsets is refused.

A coordinator decides a transaction before it writes the markers. Until a partition has its marker,
reads end at the old last stable offset; until all have it, neither the producer nor a successor
with its id may write."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from streams.connect.broker.memory.log import Log
from streams.core.clock import Clock
from streams.core.types import TopicPartition


class _Behind(NamedTuple):
    until_s: float
    high_watermark: int


class _Marker(NamedTuple):
    due_s: float
    producer_id: int
    write: Callable[[], None]


class Replicas:
    """Records replicate at once, except after `elect`. Markers are written ``marker_delay_s``
    seconds after the end of a transaction, except after `delay_markers`."""

    def __init__(self, clock: Clock, marker_delay_s: float = 0.0) -> None:
        self._clock = clock
        self._marker_delay_s = marker_delay_s
        self._behind: dict[TopicPartition, _Behind] = {}
        self._markers: list[_Marker] = []
        self._delays_s: list[float] = []

    def elect(self, log: Log, behind: int, for_s: float) -> None:
        """For ``for_s`` seconds the new leader's high watermark lacks the last ``behind``
        offsets."""
        log.elect()
        seen = max(log.start_offset, log.high_watermark - behind)
        self._behind[log.tp] = _Behind(self._clock.monotonic() + for_s, seen)

    def high_watermark(self, log: Log) -> int:
        behind = self._behind.get(log.tp)
        if behind is None or behind.until_s <= self._clock.monotonic():
            return log.high_watermark
        return max(log.start_offset, min(behind.high_watermark, log.high_watermark))

    def last_stable_offset(self, log: Log) -> int:
        return min(log.last_stable_offset, self.high_watermark(log))

    def tells_end(self, log: Log) -> bool:
        """False: the leader answers OFFSET_NOT_AVAILABLE (KIP-207)."""
        return self.high_watermark(log) == log.high_watermark

    def delay_markers(self, *delays_s: float) -> None:
        """Of the next transaction, by partition in order, the group's offsets last."""
        self._delays_s = list(delays_s)

    def mark(self, producer_id: int, writes: list[Callable[[], None]]) -> None:
        named_s, self._delays_s = self._delays_s, []
        now_s, rest_s = self._clock.monotonic(), 0.0 if named_s else self._marker_delay_s
        for number, write in enumerate(writes):
            delay_s = named_s[number] if number < len(named_s) else rest_s
            if delay_s > 0:
                self._markers.append(_Marker(now_s + delay_s, producer_id, write))
            else:
                write()

    def finishing(self, producer_id: int) -> bool:
        """CONCURRENT_TRANSACTIONS: markers of the producer's last transaction are pending."""
        return any(marker.producer_id == producer_id for marker in self._markers)

    def expire(self) -> bool:
        """True when clients may see more."""
        now_s = self._clock.monotonic()
        due = [marker for marker in self._markers if marker.due_s <= now_s]
        self._markers = [marker for marker in self._markers if marker.due_s > now_s]
        for marker in due:
            marker.write()
        caught_up = [tp for tp, behind in self._behind.items() if behind.until_s <= now_s]
        for tp in caught_up:
            del self._behind[tp]
        return bool(due or caught_up)

    def next_deadline(self) -> float | None:
        """Monotonic time of the next `expire` with an effect."""
        moments = [marker.due_s for marker in self._markers]
        moments += [behind.until_s for behind in self._behind.values()]
        return min(moments, default=None)

    def heal(self) -> None:
        markers, self._markers = self._markers, []
        for marker in markers:
            marker.write()
        self._behind.clear()
        self._delays_s = []
