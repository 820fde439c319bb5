"""The record sets of fetch answers, and a decoder for what aiokafka's own refuses.

A header's name is a string by Kafka's protocol, but brokers store whatever bytes a producer puts
there. aiokafka 0.14 decodes names strictly and so fails on the whole batch: every record of it
would be lost, or hold its partition up for ever. Names are labels, so one that is not UTF-8 is
read with its wrong bytes written out, ``caf\\xe9`` for instance, and the record lives.

Record format v2: https://kafka.apache.org/documentation/#record. Pinned by
tests/contract/test_aiokafka_pins.py: `_DefaultRecordBatchPy` and the fetcher's `MemoryRecords`.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

_LOG_OVERHEAD = struct.Struct(">qi")
"""Base offset of a batch, and its length after these twelve bytes."""


class RecordSet:
    """aiokafka's `MemoryRecords` over the same bytes, which it keeps."""

    __slots__ = ("_batches", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._batches: Any = MemoryRecords(data)

    def has_next(self) -> bool:
        return bool(self._batches.has_next())

    def next_batch(self) -> Any:
        return self._batches.next_batch()

    def size_in_bytes(self) -> int:
        return int(self._batches.size_in_bytes())

    def records_of(self, batch: Any) -> list[Any]:
        """Every record of a batch that `next_batch` returned."""
        try:
            return list(batch)
        except UnicodeDecodeError:
            return tolerant_records(self._bytes_of(batch.base_offset))

    def _bytes_of(self, base_offset: int) -> memoryview:
        at = 0
        while True:
            found, length = _LOG_OVERHEAD.unpack_from(self._data, at)
            end = at + _LOG_OVERHEAD.size + length
            if found == base_offset:
                return memoryview(self._data)[at:end]
            at = end


class TolerantRecord(NamedTuple):
    """Like aiokafka's record, as far as dia reads one."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def tolerant_records(data: bytes | memoryview) -> list[TolerantRecord]:
    """The records of one batch, given with its header; wrong bytes in names are escaped."""
    batch: Any = _DefaultRecordBatchPy(data)
    batch._maybe_uncompress()  # noqa: SLF001 - see the module's docstring
    fields = _Fields(batch._buffer, batch._pos)  # noqa: SLF001
    return [_record(batch, fields) for _ in range(batch._num_records)]  # noqa: SLF001


class _Fields:
    """Reads one field after the other."""

    def __init__(self, buffer: bytearray, position: int) -> None:
        self._buffer = buffer
        self._position = position

    def number(self) -> int:
        value: int
        value, self._position = decode_varint(self._buffer, self._position)
        return value

    def data(self) -> bytes | None:
        size = self.number()
        if size < 0:
            return None
        start, self._position = self._position, self._position + size
        return bytes(self._buffer[start : self._position])


def _record(batch: Any, fields: _Fields) -> TolerantRecord:
    fields.number()  # length
    fields.number()  # attributes: none is in use
    timestamp = batch.first_timestamp + fields.number()
    offset = batch.base_offset + fields.number()
    key, value = fields.data(), fields.data()
    headers = []
    for _ in range(fields.number()):
        name = (fields.data() or b"").decode(errors="backslashreplace")
        headers.append((name, fields.data()))
    return TolerantRecord(offset, timestamp, key, value, headers)


def keep_record_sets() -> None:
    """Let aiokafka's fetcher put a `RecordSet` into every answer."""
    fetcher.MemoryRecords = RecordSet
