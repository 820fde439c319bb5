"""Fetched record batches as columns, without one Python object per record.

aiokafka's ``ConsumerRecord`` costs more than the fetch, the checksum and the decompression.
`ColumnFetch` replaces its ``PartitionRecords`` and follows ``PartitionRecords._unpack_records`` of
0.14: it skips control batches and aborted transactional batches. A contract test pins the names
used. Its ``_records`` is a `RecordSet`.

A batch that cannot be opened, or is too large, ends the answer: then each `read` raises
`BatchUnreadable`. Damage in a large batch costs the offsets from the damaged piece on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from aiokafka.errors import CorruptRecordException

from streams.connect.broker.kafka.batches.decompression import BATCH_BYTES_MAX
from streams.connect.broker.kafka.batches.record_set import PIECE, frames_of, pieces_of
from streams.core.errors import BatchUnreadable
from streams.core.kernels.record_shape import PADDING
from streams.core.records.framed_batch import FramedBatch, Frames
from streams.core.records.headers import MIRRORED
from streams.core.types import Headers, RecordBatch, TopicPartition

_NO_HEADERS: Headers = ()
_LOG_APPEND_TIME = 1


class ColumnFetch:
    """The unread rest of one fetch answer. ``next_fetch_offset``, a name aiokafka reads, is the
    position after the records read."""

    __slots__ = (
        "_at", "_batch", "_bytes_max", "_epoch", "_framing", "_last", "_needles", "_pieces", "_records",
        "_source", "_tp", "_unmarked", "_unreadable", "next_fetch_offset",
    )  # fmt: skip

    def __init__(
        self,
        tp: TopicPartition,
        source: Any,
        batch_bytes_max: int = BATCH_BYTES_MAX,
        *,
        framing: bool = False,
        unmarked: bool = False,
        needles: Sequence[bytes] = (),
    ) -> None:
        """With ``framing``, `read` appends to a `FramedBatch`. With ``needles``, batches whose
        bytes contain none of them are passed over. With ``unmarked``, as needed for ``framing``,
        records lack `headers.MIRRORED`: a group's verdict does not depend on it."""
        self._tp = tp
        self._source = source
        self._bytes_max = batch_bytes_max
        self._framing = framing
        self._unmarked = unmarked
        self._needles = needles
        self._unreadable: BatchUnreadable | None = None
        self._epoch = -1
        self._batch: Any = None
        self._records: list[Any] | Frames = []
        self._at = 0
        self._pieces: Iterator[list[Any] | Frames] = iter(())
        """remaining records of the batch"""
        self._last = True
        """whether ``_records`` reaches the end of the batch"""
        self.next_fetch_offset: int = source.next_fetch_offset

    def read(self, into: RecordBatch, max_records: int) -> bool:
        """False at the end of the answer. Stops before a batch with the other kind of timestamp.
        Raises `BatchUnreadable` where no record precedes such a batch."""
        room, began = max_records, self.next_fetch_offset
        while room > 0:
            if self._at == len(self._records):
                try:
                    opened = self._open_next_batch(into)
                except BatchUnreadable:
                    if self.next_fetch_offset > began:
                        return True
                    raise
                if not opened:
                    return False
            append_times = self._batch.timestamp_type == _LOG_APPEND_TIME
            if append_times != into.append_times:
                if len(into):
                    return True
                into.append_times = append_times
            last = min(len(self._records), self._at + room)
            room -= last - self._at
            self._passed(into)
            self._append(into, self._at, last)
            self._at = last
            into.end = self.next_fetch_offset
        return True

    def _open_next_batch(self, into: RecordBatch) -> bool:
        """False at the end of the answer."""
        if self._unreadable is not None:
            raise self._unreadable
        try:
            return self._open(into)
        except Exception as error:
            # Decompressors raise exceptions of their own, and a damaged record may raise anything.
            first, until = self._source._records.bounds()  # noqa: SLF001
            offset = self.next_fetch_offset
            if not first <= offset < until:
                first, until = offset, offset + 1
            why = f"{type(error).__name__} {error}".strip()[:200]
            self._unreadable = BatchUnreadable(self._tp, offset, until, why)
            raise self._unreadable from error

    def _open(self, into: RecordBatch) -> bool:
        if self._next_piece():
            return True
        if self._batch is not None:
            self.next_fetch_offset = max(self.next_fetch_offset, self._batch.next_offset)
        batches = self._source._records  # noqa: SLF001  # see the module's docstring
        while batches.has_next():
            batch = batches.next_batch()
            if not batch.validate_crc():
                raise CorruptRecordException("its checksum is wrong")
            self._epoch = batches.leader_epoch
            if not self._is_skipped(batch) and self._may_match(batches):
                padding = PADDING if self._framing else 0
                data = batches.opened(batch, self._bytes_max, padding)
                frames = frames_of(batch, data) if self._framing else None
                self._batch = batch
                if frames is None:
                    self._pieces = pieces_of(batch, data[: len(data) - padding])
                else:
                    self._pieces = iter((frames,))
                if self._next_piece():
                    return True
            self.next_fetch_offset = max(self.next_fetch_offset, batch.next_offset)
            self._passed(into)
        self._batch, self._records, self._at = None, [], 0
        return False

    def _may_match(self, batches: Any) -> bool:
        return not self._needles or batches.contains(self._needles, self._bytes_max)

    def _next_piece(self) -> bool:
        start = self.next_fetch_offset
        for records in self._pieces:
            self._last = isinstance(records, Frames) or len(records) < PIECE
            wanted: list[Any] | Frames
            # a batch may start below the position
            if isinstance(records, Frames):
                wanted = records.cut(int(np.searchsorted(records.offsets, start)), len(records))
            elif records[0].offset >= start:
                wanted = records
            else:
                wanted = [record for record in records if record.offset >= start]
            if wanted:
                self._records, self._at = wanted, 0
                return True
        return False

    def _passed(self, into: RecordBatch) -> None:
        into.last_epoch = self._epoch
        if into.first_epoch < 0:
            into.first_epoch = self._epoch

    def _is_skipped(self, batch: Any) -> bool:
        source = self._source
        if batch.producer_id is not None:
            source._consume_aborted_up_to(batch.base_offset)  # noqa: SLF001
            aborted = source._aborted_producers  # noqa: SLF001
            if batch.is_control_batch:
                if source._contains_abort_marker(batch):  # noqa: SLF001
                    aborted.discard(batch.producer_id)
                return True
            return bool(batch.is_transactional and batch.producer_id in aborted)
        return bool(batch.is_control_batch)

    def _append(self, into: RecordBatch, first: int, last: int) -> None:
        records, batch = self._records, self._batch
        # Compaction or a skip may leave a hole between the last record and the end of its batch.
        ends = last == len(self._records) and self._last
        if isinstance(records, Frames):
            frames = records.cut(first, last)
            self._append_frames(into, frames)
            self.next_fetch_offset = batch.next_offset if ends else int(frames.offsets[-1]) + 1
            return
        into.to_lists()
        if first > 0 or last < len(records):
            records = records[first:last]
        count = len(records)
        start, end = records[0].offset, records[-1].offset + 1
        if end - start == count:
            into.offsets.extend(range(start, end))
        else:
            into.offsets.extend([record.offset for record in records])
        if into.append_times:
            into.timestamps.extend([batch.max_timestamp] * count)
        else:
            into.timestamps.extend([record.timestamp for record in records])
        into.keys.extend([record.key for record in records])
        into.values.extend([record.value for record in records])
        headers = [record.headers for record in records]
        if self._unmarked and any(headers):
            headers = [[one for one in pairs if one[0] != MIRRORED] for pairs in headers]
        if any(headers):
            into.headers.extend([_headers(pairs) if pairs else _NO_HEADERS for pairs in headers])
        else:
            into.headers.extend([_NO_HEADERS] * count)
        self.next_fetch_offset = batch.next_offset if ends else end

    def _append_frames(self, into: RecordBatch, frames: Frames) -> None:
        if isinstance(into, FramedBatch) and into.framed:
            into.add(frames)
            return
        alone = FramedBatch(self._tp, 0, 0)
        alone.add(frames)
        for name in ("offsets", "timestamps", "keys", "values", "headers"):
            getattr(into, name).extend(alone.column(name))


def _headers(pairs: list[tuple[str, bytes | None]]) -> Headers:
    if None not in [value for _, value in pairs]:
        return tuple(pairs)  # type: ignore[arg-type]  # no value is None
    return tuple([(name, value if value is not None else b"") for name, value in pairs])
