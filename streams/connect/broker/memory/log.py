"""The log of one partition: offsets, transactions, control markers, the last stable offset,
unreadable batches, and an end lost with its leader, which starts another leader epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from streams.core.errors import BatchUnreadable
from streams.core.types import Headers, OffsetOutOfRange, RecordBatch, TopicPartition


@dataclass(slots=True)
class LogEntry:
    """Control markers and aborted records are not ``delivered``. ``append_time``: the broker set
    the timestamp. ``epoch``: the leader epoch."""

    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    delivered: bool = True
    append_time: bool = True
    epoch: int = 0
    control: bool = False


class Log:
    def __init__(self, tp: TopicPartition) -> None:
        self.tp = tp
        self.start_offset = 0
        self._entries: list[LogEntry] = []
        self._open: dict[int, list[int]] = {}
        self._committing: set[int] = set()
        self._spoilt: list[range] = []
        self._epoch = 0
        self._reached = 0

    @property
    def high_watermark(self) -> int:
        return self.start_offset + len(self._entries)

    @property
    def last_stable_offset(self) -> int:
        """First offset of the earliest open transaction, or the high watermark."""
        return min((offsets[0] for offsets in self._open.values()), default=self.high_watermark)

    @property
    def decided_offset(self) -> int:
        """The last stable offset after all pending markers."""
        undecided = (o[0] for pid, o in self._open.items() if pid not in self._committing)
        return min(undecided, default=self.high_watermark)

    def decide(self, producer_id: int) -> None:
        """The marker follows."""
        self._committing.add(producer_id)

    def append(self, entry: LogEntry, producer_id: int | None = None) -> int:
        """``producer_id`` opens a transaction."""
        offset = self._add(entry)
        if producer_id is not None:
            self._open.setdefault(producer_id, []).append(offset)
        return offset

    def end_transaction(self, producer_id: int, timestamp_ms: int, *, committed: bool) -> None:
        """Append the control marker: readers see the transaction's records, or never do."""
        for offset in self._open.pop(producer_id, ()):
            if not committed and offset >= self.start_offset:
                self._entries[offset - self.start_offset].delivered = False
        self._committing.discard(producer_id)
        self._add(LogEntry(timestamp_ms, None, None, (), delivered=False, control=True))

    def lose_end(self, count: int) -> None:
        """A dead leader had not replicated them."""
        del self._entries[max(0, len(self._entries) - count) :]
        end = self.high_watermark
        self._open = {
            pid: kept for pid, at in self._open.items() if (kept := [o for o in at if o < end])
        }
        self._spoilt = [range(s.start, min(s.stop, end)) for s in self._spoilt if s.start < end]

    def elect(self) -> None:
        self._epoch += 1

    def spoil(self, first: int, until: int) -> None:
        """Make offsets [first, until) one unreadable batch."""
        self._spoilt.append(range(first, until))

    @property
    def spoilt(self) -> list[range]:
        return list(self._spoilt)

    @property
    def spoilt_records(self) -> set[int]:
        """Offsets of committed records in unreadable batches. Readers pass aborted ones unopened."""
        first = self.start_offset
        offsets = (offset for one in self._spoilt for offset in one if offset >= first)
        return {offset for offset in offsets if self._entries[offset - first].delivered}

    def _add(self, entry: LogEntry) -> int:
        if self.high_watermark < self._reached:
            # another leader, without the lost entries
            self._epoch += 1
        entry.epoch = self._epoch
        self._entries.append(entry)
        self._reached = self.high_watermark
        return self._reached - 1

    def trim(self, before: int) -> None:
        dropped = min(max(0, before - self.start_offset), len(self._entries))
        del self._entries[:dropped]
        self.start_offset += dropped

    def lose_tail(self, end: int) -> None:
        """As an unclean election does. The next append gets offset ``end`` again."""
        del self._entries[max(0, end - self.start_offset) :]
        kept = {p: [o for o in offsets if o < end] for p, offsets in self._open.items()}
        self._open = {producer: offsets for producer, offsets in kept.items() if offsets}

    def read_committed(
        self, offset: int, max_records: int, stable: int | None = None
    ) -> RecordBatch:
        """From ``offset``, below the last stable offset or ``stable``, a leader's stale view of it.

        Raises `OffsetOutOfRange` below the start or past the high watermark, and
        `BatchUnreadable`."""
        stable = self.last_stable_offset if stable is None else stable
        return self._read(offset, max_records, stable, aborted=False)

    def read_all(self, offset: int, max_records: int, end: int) -> RecordBatch:
        """As `read_committed`, with records of aborted and open transactions, up to ``end``."""
        return self._read(offset, max_records, end, aborted=True)

    def _read(self, offset: int, max_records: int, end: int, *, aborted: bool) -> RecordBatch:
        if not self.start_offset <= offset <= self.high_watermark:
            raise OffsetOutOfRange(self.tp, offset)
        batch = RecordBatch(self.tp, offset, offset)
        first, last = offset - self.start_offset, end - self.start_offset
        for entry in islice(self._entries, first, max(first, last)):
            if len(batch) == max_records:
                break
            if entry.delivered or (aborted and not entry.control):
                if self._spoilt and (spoilt := self._spoilt_at(batch.end)) is not None:
                    if batch.end > offset:
                        break
                    why = "DecompressionError in memory"
                    raise BatchUnreadable(self.tp, offset, spoilt.stop, why)
                if entry.append_time != batch.append_times:
                    if len(batch):
                        break
                    batch.append_times = entry.append_time
                batch.offsets.append(batch.end)
                batch.timestamps.append(entry.timestamp_ms)
                batch.keys.append(entry.key)
                batch.values.append(entry.value)
                batch.headers.append(entry.headers)
            batch.end += 1
            batch.last_epoch = entry.epoch
            if batch.first_epoch < 0:
                batch.first_epoch = entry.epoch
        return batch

    def offset_since(self, ms: int) -> int:
        """Lowest offset whose timestamp is at least ``ms``; the last stable offset without one
        below it."""
        first, stable = self.start_offset, self.last_stable_offset
        younger = (
            first + place for place, entry in enumerate(self._entries) if entry.timestamp_ms >= ms
        )
        return min(next(younger, stable), stable)

    def readable(self) -> RecordBatch:
        offset = self.start_offset
        whole = RecordBatch(self.tp, offset, offset)
        for part in self._readable_parts(offset):
            for column in ("offsets", "timestamps", "keys", "values", "headers"):
                getattr(whole, column).extend(getattr(part, column))
            whole.end = part.end
        return whole

    def _readable_parts(self, offset: int) -> Iterator[RecordBatch]:
        while True:
            try:
                part = self.read_committed(offset, 1 << 30)
            except BatchUnreadable as error:
                part = RecordBatch(self.tp, offset, error.until)
            if part.end == offset:
                return
            yield part
            offset = part.end

    def _spoilt_at(self, offset: int) -> range | None:
        return next((spoilt for spoilt in self._spoilt if offset in spoilt), None)
