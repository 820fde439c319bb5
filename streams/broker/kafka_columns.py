"""Fetched record batches as columns: no object per record that aiokafka does not make in C.

aiokafka builds a Python ``ConsumerRecord`` for each record, which costs more than fetching,
checking and decompressing it. `ColumnFetch` takes the place of its ``PartitionRecords`` behind
one fetch answer and hands out whole runs. What is skipped, and when the position moves, follows
``PartitionRecords._unpack_records`` of aiokafka 0.14 (a contract test pins the names used):
control batches never show, and a transactional batch is skipped while its producer has an
aborted transaction open at that offset. Its ``_records`` is a `RecordSet` of ours.
"""

from __future__ import annotations

from typing import Any

from aiokafka.errors import CorruptRecordException

from streams.types import Headers, RecordBatch

_NO_HEADERS: Headers = ()
_LOG_APPEND_TIME = 1


class ColumnFetch:
    """The unread rest of one fetch answer for one partition.

    ``next_fetch_offset`` is the position after what was read, the name aiokafka looks for.
    """

    __slots__ = ("_at", "_batch", "_records", "_source", "next_fetch_offset")

    def __init__(self, source: Any) -> None:
        self._source = source
        self._batch: Any = None
        self._records: list[Any] = []
        self._at = 0
        self.next_fetch_offset: int = source.next_fetch_offset

    def read(self, into: RecordBatch, max_records: int) -> bool:
        """Append up to ``max_records`` records; False once nothing is left to read.

        Raises `CorruptRecordException` where a checksum fails.
        """
        room = max_records
        while room > 0:
            if self._at == len(self._records) and not self._open_next_batch():
                return False
            last = min(len(self._records), self._at + room)
            room -= last - self._at
            self._append(into, self._at, last)
            self._at = last
            into.end = self.next_fetch_offset
        return True

    def _open_next_batch(self) -> bool:
        """Move to the next batch that has records to deliver; False at the end of the answer."""
        source = self._source
        while source._records.has_next():  # noqa: SLF001  # see the module's docstring
            batch = source._records.next_batch()  # noqa: SLF001
            if not batch.validate_crc():
                raise CorruptRecordException(f"checksum of batch at {batch.base_offset} fails")
            if not self._is_skipped(batch):
                # Records below the position belong to a batch that straddles it.
                records = source._records.records_of(batch)  # noqa: SLF001
                start = self.next_fetch_offset
                if records and records[0].offset < start:
                    records = [record for record in records if record.offset >= start]
                if records:
                    self._batch, self._records, self._at = batch, records, 0
                    return True
            self.next_fetch_offset = max(self.next_fetch_offset, batch.next_offset)
        self._batch, self._records, self._at = None, [], 0
        return False

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
        if first > 0 or last < len(records):
            records = records[first:last]
        count = len(records)
        start, end = records[0].offset, records[-1].offset + 1
        if end - start == count:
            into.offsets.extend(range(start, end))
        else:
            into.offsets.extend([record.offset for record in records])
        if batch.timestamp_type == _LOG_APPEND_TIME:
            into.timestamps.extend([batch.max_timestamp] * count)
        else:
            into.timestamps.extend([record.timestamp for record in records])
        into.keys.extend([record.key for record in records])
        into.values.extend([record.value for record in records])
        headers = [record.headers for record in records]
        if any(headers):
            into.headers.extend([_headers(pairs) if pairs else _NO_HEADERS for pairs in headers])
        else:
            into.headers.extend([_NO_HEADERS] * count)
        # The batch may end beyond its last record, where compaction or a skip left a hole.
        self.next_fetch_offset = batch.next_offset if last == len(self._records) else end


def _headers(pairs: list[tuple[str, bytes | None]]) -> Headers:
    if None not in [value for _, value in pairs]:
        return tuple(pairs)  # type: ignore[arg-type]  # no value is None
    return tuple([(name, value if value is not None else b"") for name, value in pairs])
