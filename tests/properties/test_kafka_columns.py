"""Columns hold exactly the records that aiokafka's own reader delivers, for any log."""

from __future__ import annotations

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from streams.connect.broker.kafka.batches.columns import ColumnFetch
from streams.connect.broker.kafka.batches.decompression import uncompressed
from streams.connect.broker.kafka.batches.record_set import RecordSet, tolerant_records
from streams.core import kernels
from streams.core.records.framed_batch import FramedBatch, framed, timestamp_array
from streams.core.records.headers import MIRRORED
from streams.core.types import RecordBatch, TopicPartition

TP = TopicPartition("topic", 0)
ABORT, COMMIT = b"\x00\x00\x00\x00", b"\x00\x00\x00\x01"
LZ4, CONTROL_BIT, ATTRIBUTES_AT, CRC_AT = 3, 0x20, 21, 17

records = st.lists(
    st.tuples(
        st.none() | st.binary(max_size=8),
        st.none() | st.binary(max_size=40),
        st.integers(min_value=0, max_value=10**12),
        st.one_of(
            *[st.just([])] * 5,
            st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=5)), max_size=2),
        ),
    ),
    min_size=1,
    max_size=6,
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("data"), st.sampled_from([-1, 1, 2]), records, st.booleans()),
        st.tuples(st.just("end"), st.sampled_from([1, 2]), st.booleans(), st.just(None)),
    ),
    max_size=12,
)


def _batch(base_offset, pid, rows, *, control=False, compressed=False):
    """One batch as a broker stores it, at ``base_offset``."""
    builder = DefaultRecordBatchBuilder(
        2, LZ4 if compressed else 0, int(pid > 0), pid, 0, 0, 1 << 20
    )
    for at, (key, value, stamp, headers) in enumerate(rows):
        builder.append(at, stamp, key, value, headers)
    raw = bytearray(builder.build())
    raw[0:8] = base_offset.to_bytes(8, "big")
    if control:
        raw[ATTRIBUTES_AT + 1] |= CONTROL_BIT
        raw[CRC_AT : CRC_AT + 4] = _crc32c(bytes(raw[ATTRIBUTES_AT:])).to_bytes(4, "big")
    return bytes(raw)


def _crc32c(data):
    from aiokafka.record.util import calc_crc32c

    return calc_crc32c(data)


def _log(plan):
    """The log's batches by end offset, and the aborted transactions that a broker would report."""
    batches, offset, open_at, aborted = [], 0, {}, []
    for kind, pid, what, compressed in plan:
        if kind == "data":
            batch = _batch(offset, pid, what, compressed=compressed)
            if pid > 0:
                open_at.setdefault(pid, offset)
            offset += len(what)
        elif pid in open_at:
            first = open_at.pop(pid)
            if not what:
                aborted.append((pid, first))
            marker = [(COMMIT if what else ABORT, b"\x00" * 6, 0, [])]
            batch = _batch(offset, pid, marker, control=True)
            offset += 1
        else:
            continue
        batches.append((offset, batch))
    return batches, offset, aborted


@pytest.mark.parametrize("framing", [False, True])
@given(steps, st.integers(min_value=0, max_value=40), st.integers(min_value=1, max_value=7))
def test_columns_equal_the_clients_records(framing, plan, skip, chunk):
    """With aborted and control batches, moved positions and cut chunks."""
    batches, end, aborted = _log(plan)
    start = min(skip, end)
    # A broker answers from the batch that contains the requested offset.
    data = b"".join(batch for batch_end, batch in batches if batch_end > start)

    def source(record_set):
        return PartitionRecords(
            TP, record_set(data), list(aborted), start, None, None, True, READ_COMMITTED
        )

    reference = source(MemoryRecords)
    expected = [(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in reference]
    columns = ColumnFetch(TP, source(RecordSet), framing=framing)
    delivered, position, more = [], start, True
    while more:
        batch = (FramedBatch if framing else RecordBatch)(TP, position, position)
        more = columns.read(batch, chunk)
        assert len(batch) <= chunk
        if len(batch):
            assert batch.last() == (batch.offsets[-1], batch.timestamps[-1])
            assert timestamp_array(batch).tolist() == batch.timestamps
            assert framed(batch).keys == batch.keys
            assert framed(batch).values[-1] == batch.values[-1]
        assert columns.next_fetch_offset >= position
        assert all(position <= offset < columns.next_fetch_offset for offset in batch.offsets)
        position = columns.next_fetch_offset
        delivered.extend(
            zip(
                batch.offsets,
                batch.timestamps,
                batch.keys,
                batch.values,
                batch.headers,
                strict=True,
            )
        )
    assert delivered == expected
    assert position == reference.next_fetch_offset


@given(st.integers(min_value=0, max_value=10**12), records, st.booleans())
def test_the_tolerant_decoder_equals_the_clients(base_offset, rows, compressed):
    """It decodes a whole batch in which only one record is invalid."""
    data = _batch(base_offset, 0, rows, compressed=compressed)
    expected = MemoryRecords(data).next_batch()
    plain = uncompressed(data, 1 << 20)
    assert [
        (r.offset, r.timestamp, r.key, r.value, r.headers) for r in tolerant_records(plain)
    ] == [(r.offset, r.timestamp, r.key, r.value, r.headers) for r in expected]


@pytest.mark.parametrize("framing", [False, True])
@given(records)
def test_a_group_reads_copies_of_a_mirror_as_their_originals(framing, rows):
    """The mark of a mirror changes no verdict and no speed, with kernels and without."""

    def read(rows, **options):
        data = _batch(0, -1, [(key, value, 7, headers) for key, value, _, headers in rows])
        source = PartitionRecords(TP, RecordSet(data), [], 0, None, None, True, READ_COMMITTED)
        found = FramedBatch(TP, 0, 0)
        ColumnFetch(TP, source, framing=framing, **options).read(found, 99)
        was_framed = found.framed
        found.to_lists()
        return was_framed, [found.keys, found.values, found.offsets, found.headers]

    marked = [(key, value, at, [*found, (MIRRORED, None)]) for key, value, at, found in rows]
    assert read(marked, unmarked=True)[1] == read(rows)[1]
    for mark in (None, b""):  # a mirror's, and an agent's
        plain = [(key, value, at, [(MIRRORED, mark)]) for key, value, at, _ in rows]
        assert read(plain, unmarked=True)[0] is (framing and kernels.active is not None)
