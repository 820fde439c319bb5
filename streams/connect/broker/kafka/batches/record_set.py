r"""Record sets of fetch answers: framed here, decompressed within a bound (decompression.py),
parsed by aiokafka.

Brokers check a batch's frame and checksum only. It may have a broken compression frame, an unknown
codec, or a format before v2. Failures keep their own exception classes; `RecordSet.bounds` returns
the lost offsets. Header names that are not UTF-8 do not fail a batch, as they do in aiokafka 0.14:
the invalid bytes are escaped (``caf\xe9``).

Record format v2: https://kafka.apache.org/documentation/#record.
tests/contract/test_aiokafka_pins.py pins `_DefaultRecordBatchPy` and the fetcher's
`MemoryRecords`."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint_py

from streams.connect.broker.byte_search import contains
from streams.connect.broker.kafka.batches.decompression import (
    BATCH_BYTES_MAX,
    Room,
    opened_records,
    uncompressed,
)
from streams.core import kernels
from streams.core.kernels.record_shape import PADDING, RECORD_BYTES_MIN
from streams.core.records.framed_batch import Frames

PIECE: Final = 20_000
"""records decoded from a batch at once"""
_FRAME = struct.Struct(">qiiB")
"""base offset, length behind the first `_OVERHEAD_BYTES`, leader epoch, format"""
_OVERHEAD_BYTES = 12
_LAST_OFFSET_DELTA = struct.Struct(">i")
_LAST_OFFSET_DELTA_AT = 23
_HEADER_BYTES = 61
_FORMAT = 2
_RECORD_COUNT = struct.Struct(">i")
_RECORD_COUNT_AT = 57
_LOG_APPEND_TIME = 1
_CODEC_AT, _CODEC_MASK = 22, 0x07
_RECORDS_AT_LEAST = _HEADER_BYTES - _OVERHEAD_BYTES
_NO_FRAME = (0, 0, -1, -1)


class RecordSet:
    """``leader_epoch`` belongs to the last batch returned. The size limit may cut the last batch,
    which the next fetch returns whole; the first is always whole (KIP-74), so a cut one is
    damaged."""

    __slots__ = ("_at", "_batches", "_data", "_end", "_frame", "_room", "leader_epoch")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = self._end = 0
        self._frame = _NO_FRAME
        self._room = Room()
        self.leader_epoch = -1
        self._batches: Any = None
        """aiokafka's parser, faster than ours; it reads one batch ahead, so it is dropped one batch
        before a damaged frame"""
        with suppress(Exception):
            self._batches = MemoryRecords(data)

    def has_next(self) -> bool:
        at, left = self._end, len(self._data) - self._end
        if left < _FRAME.size:
            self._frame = _NO_FRAME
            return at == 0 and left > 0
        self._frame = frame = _FRAME.unpack_from(self._data, at)
        return left >= _OVERHEAD_BYTES + frame[1] or at == 0

    def next_batch(self) -> Any:
        """After `has_next`. Raises `CorruptRecordException`."""
        at = self._at = self._end
        _, length, epoch, version = self._frame
        end = at + _OVERHEAD_BYTES + length
        if version != _FORMAT or length < _RECORDS_AT_LEAST or end > len(self._data):
            self._end = len(self._data)
            raise CorruptRecordException(
                f"it has record format v{version}, dia reads v{_FORMAT}"
                if version not in (_FORMAT, -1)
                else "it is cut short, or its length is wrong"
            )
        self._end, self.leader_epoch = end, epoch
        try:
            return self._batches.next_batch()
        except Exception:  # noqa: BLE001 - it met the batch behind this one
            self._batches = None
            return DefaultRecordBatch(self._data[at:end])

    def size_in_bytes(self) -> int:
        return len(self._data)

    def opened(self, batch: Any, bytes_max: int = BATCH_BYTES_MAX, padding: int = 0) -> bytes:
        """The last batch that `next_batch` returned, uncompressed, with ``padding`` zeros behind
        it. Raises `TooManyBytes`."""
        data = self._data[self._at : self._end]
        if batch.compression_type:
            return uncompressed(data, bytes_max, padding)
        return data + bytes(padding)

    def contains(self, needles: Sequence[bytes], bytes_max: int = BATCH_BYTES_MAX) -> bool:
        """Whether the uncompressed records of the last batch that `next_batch` returned may have one of
        ``needles``; of an unknown codec that is not known. Raises as `opened`."""
        data = memoryview(self._data)[self._at : self._end]
        records = opened_records(data, bytes_max, self._room)
        return records is None or contains(records, needles)

    def records_of(self, batch: Any, bytes_max: int = BATCH_BYTES_MAX) -> Iterator[list[Any]]:
        """In lists of `PIECE`: a batch may hold millions of empty records. Only the last list is
        shorter."""
        return pieces_of(batch, self.opened(batch, bytes_max))

    def bounds(self) -> tuple[int, int]:
        """First offset of the batch that `next_batch` reached last, and one past its last offset.
        The next batch's header is preferred to its own; equal where neither is readable."""
        rest = memoryview(self._data)[self._at :]
        if len(rest) < _FRAME.size:
            return 0, 0
        base, length, _, version = _FRAME.unpack_from(rest)
        behind = rest[_OVERHEAD_BYTES + length :] if length > 0 else b""
        if len(behind) >= _FRAME.size and (until := _FRAME.unpack_from(behind)[0]) > base:
            return base, until
        if version != _FORMAT or len(rest) < _HEADER_BYTES:
            # Formats before v2 store the last offset of a compressed set.
            return base, base + 1
        return base, base + _LAST_OFFSET_DELTA.unpack_from(rest, _LAST_OFFSET_DELTA_AT)[0] + 1


def frames_of(batch: Any, data: bytes) -> Frames | None:
    """Record positions in ``data``, the uncompressed batch with `PADDING` zeros behind it. None
    without a kernel, for a large batch, or for an unusual record (streams/core/kernels/records.py);
    use `pieces_of` then."""
    loops, end = kernels.active, len(data) - PADDING
    (count,) = _RECORD_COUNT.unpack_from(data, _RECORD_COUNT_AT)
    if data[_CODEC_AT] & _CODEC_MASK or loops is None:
        return None
    if not 0 < count <= min(PIECE, end // RECORD_BYTES_MIN):
        return None
    buffer = np.frombuffer(data, np.uint8)
    columns = np.empty((6, count), np.int64)
    if not loops.frame(
        buffer, _HEADER_BYTES, end, batch.base_offset, batch.first_timestamp, *columns
    ):
        return None
    # They rise: the kernel has seen that.
    if columns[0, 0] < batch.base_offset or columns[0, -1] >= batch.next_offset:
        return None
    if batch.timestamp_type == _LOG_APPEND_TIME:
        columns[1] = batch.max_timestamp
    return Frames(buffer, *columns)


def pieces_of(batch: Any, data: bytes) -> Iterator[list[Any]]:
    """The records of the uncompressed batch ``data``, as `RecordSet.records_of`."""
    if batch.compression_type:
        batch = DefaultRecordBatch(data)
    # islice restarts the iteration of a batch, but not of a chain.
    records: Iterator[Any] = chain(batch)
    given, behind = 0, batch.base_offset
    while True:
        try:
            piece = list(islice(records, PIECE))
        except Exception as error:
            # aiokafka's compiled batch raises the decoding error; its Python batch wraps it.
            if UnicodeDecodeError not in (type(error), type(error.__context__)):
                raise
            records = tolerant_records(data)
            next(islice(records, given, given), None)
            continue
        given += len(piece)
        if piece:
            _check_offsets(piece, behind, batch.next_offset)
            behind = piece[-1].offset + 1
            yield piece
        if len(piece) < PIECE:
            return


def _check_offsets(piece: list[Any], first: int, end: int) -> None:
    """Records of uncompressed batches have the offsets that their producer wrote: brokers compare
    those of compressed ones only. An offset of another batch would be counted, or finished, in
    place of that record. Raises `CorruptRecordException`."""
    low, high = piece[0].offset, piece[-1].offset
    # Of as many as lie between the first and the last, the columns have each offset once.
    whole = high - low == len(piece) - 1
    rising = whole or all(before.offset < after.offset for before, after in pairwise(piece))
    if low < first or high >= end or not rising:
        raise CorruptRecordException("its records have other offsets than its header says")


class TolerantRecord(NamedTuple):
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def tolerant_records(data: bytes) -> Iterator[TolerantRecord]:
    """Of one uncompressed batch, header included, with invalid bytes in header names escaped.
    Raises `CorruptRecordException` where a field exceeds its bounds."""
    batch: Any = _DefaultRecordBatchPy(data)
    fields = _Fields(batch._buffer, batch._pos)  # noqa: SLF001 - see the module's docstring
    for _ in range(batch._num_records):  # noqa: SLF001
        yield _record(batch, fields)


class _Fields:
    """Reads fields in order and checks each length, which the producer wrote."""

    def __init__(self, buffer: bytearray, position: int) -> None:
        self._buffer = buffer
        self.position = position

    def number(self) -> int:
        value: int
        try:
            # aiokafka's compiled decoder reads beyond the buffer.
            value, self.position = decode_varint_py(self._buffer, self.position)
        except (IndexError, ValueError) as error:
            raise CorruptRecordException("a number in a record is cut short") from error
        return value

    def data(self) -> bytes | None:
        size = self.number()
        if size < 0:
            return None
        start, self.position = self.position, self.position + size
        if self.position > len(self._buffer):
            raise CorruptRecordException(f"a field of {size} bytes is cut short")
        return bytes(self._buffer[start : self.position])


def _record(batch: Any, fields: _Fields) -> TolerantRecord:
    size = fields.number()
    end = fields.position + size
    fields.number()  # attributes: unused
    timestamp = batch.first_timestamp + fields.number()
    offset = batch.base_offset + fields.number()
    key, value = fields.data(), fields.data()
    headers = []
    for _ in range(fields.number()):
        name = (fields.data() or b"").decode(errors="backslashreplace")
        headers.append((name, fields.data()))
    if fields.position != end:
        raise CorruptRecordException(f"a record of {size} bytes ends elsewhere")
    return TolerantRecord(offset, timestamp, key, value, headers)


def keep_record_sets() -> None:
    """Make aiokafka's fetcher use `RecordSet`."""
    fetcher.MemoryRecords = RecordSet
