"""The log of one partition: offsets, transactions, control markers, the last stable offset."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from streams.types import Headers, OffsetOutOfRange, RecordBatch, TopicPartition


@dataclass(slots=True)
class Entry:
    """What one offset holds. A control marker, like an aborted record, is never delivered."""

    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    delivered: bool = True


class Log:
    """Offsets rise by one from `start_offset`; the front is trimmed, the back is appended to."""

    def __init__(self, tp: TopicPartition) -> None:
        self.tp = tp
        self.start_offset = 0
        self._entries: list[Entry] = []
        self._open: dict[int, list[int]] = {}

    @property
    def high_watermark(self) -> int:
        """The offset the next append gets."""
        return self.start_offset + len(self._entries)

    @property
    def last_stable_offset(self) -> int:
        """The first offset of the earliest open transaction, or the high watermark."""
        return min((offsets[0] for offsets in self._open.values()), default=self.high_watermark)

    def append(self, entry: Entry, producer_id: int | None = None) -> int:
        """Append a record and return its offset; a ``producer_id`` opens a transaction here."""
        offset = self.high_watermark
        self._entries.append(entry)
        if producer_id is not None:
            self._open.setdefault(producer_id, []).append(offset)
        return offset

    def end_transaction(self, producer_id: int, timestamp_ms: int, *, committed: bool) -> None:
        """Append the control marker that makes a transaction's records visible, or never."""
        for offset in self._open.pop(producer_id, ()):
            if not committed and offset >= self.start_offset:
                self._entries[offset - self.start_offset].delivered = False
        self._entries.append(Entry(timestamp_ms, None, None, (), delivered=False))

    def trim(self, before: int) -> None:
        """Drop every entry below ``before``, or all of them when it lies past the end."""
        dropped = min(max(0, before - self.start_offset), len(self._entries))
        del self._entries[:dropped]
        self.start_offset += dropped

    def read_committed(self, offset: int, max_records: int) -> RecordBatch:
        """Up to ``max_records`` records from ``offset`` on, below the last stable offset.

        Raises `OffsetOutOfRange` below the start or past the high watermark.
        """
        if not self.start_offset <= offset <= self.high_watermark:
            raise OffsetOutOfRange(self.tp, offset)
        batch = RecordBatch(self.tp, offset, offset)
        first, last = offset - self.start_offset, self.last_stable_offset - self.start_offset
        for entry in islice(self._entries, first, max(first, last)):
            if len(batch) == max_records:
                break
            if entry.delivered:
                batch.offsets.append(batch.end)
                batch.timestamps.append(entry.timestamp_ms)
                batch.keys.append(entry.key)
                batch.values.append(entry.value)
                batch.headers.append(entry.headers)
            batch.end += 1
        return batch
