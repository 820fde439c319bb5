"""Batches that are small compressed and huge uncompressed: they stop their partition and take
bounded memory.
"""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
import sys

import cramjam
import pytest
from aiokafka import codec as client_codec
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from streams.connect.broker.kafka.batches.columns import ColumnFetch
from streams.connect.broker.kafka.batches.decompression import (
    HEADER_BYTES,
    TooManyBytes,
    uncompressed,
)
from streams.connect.broker.kafka.batches.record_set import PIECE, RecordSet
from streams.core.errors import BatchUnreadable
from streams.core.types import RecordBatch, TopicPartition

TP = TopicPartition("t", 0)
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
PACKERS = {
    GZIP: lambda data: gzip.compress(data, 1),
    SNAPPY: client_codec.snappy_encode,
    LZ4: lambda data: client_codec.lz4_encode(data, 1),
    ZSTD: client_codec.zstd_encode,
}
_BOMBS = """
import json, sys
from tests.unit.connect.broker.test_zip_bombs import PACKERS, batch
bombs = {codec: batch(codec, bytes(100 << 20)) for codec in PACKERS}
json.dump({codec: len(bomb) for codec, bomb in bombs.items()}, open(sys.argv[1] + "/sizes", "w"))
for codec, bomb in bombs.items():
    open(f"{sys.argv[1]}/{codec}", "wb").write(bomb)
"""
_OPEN = """
import json, resource, sys
from tests.unit.connect.broker.test_zip_bombs import PACKERS, outcome
told = {}
for codec in PACKERS:
    data = open(f"{sys.argv[1]}/{codec}", "rb").read()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    why = outcome(data)
    told[codec] = why, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(json.dumps(told))
"""


def batch(codec, value, count=1, base=0):
    """A batch of ``count`` equal records, as a broker stores it."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, (len(value) + 30) * (count + 1))
    for at in range(count):
        assert builder.append(at, 1000, None, value, []) is not None
    raw = bytearray(builder.build())
    struct.pack_into(">q", raw, 0, base)
    return signed(raw, codec, raw[HEADER_BYTES:])


def signed(raw, codec, records):
    packed = bytes(PACKERS[codec](bytes(records))) if codec else bytes(records)
    header = bytearray(raw[:HEADER_BYTES])
    struct.pack_into(">h", header, 21, codec | 0x08)
    struct.pack_into(">i", header, 8, HEADER_BYTES - 12 + len(packed))
    whole = header + packed
    struct.pack_into(">I", whole, 17, calc_crc32c(bytes(whole[21:])))
    return bytes(whole)


def fetched(data, **bound):
    source = PartitionRecords(TP, RecordSet(data), [], 0, None, None, True, READ_COMMITTED)
    return ColumnFetch(TP, source, **bound)


def outcome(data, **bound):
    """The result of a fetch: the number of records, or the reason why they cannot be read."""
    columns, found = fetched(data, **bound), 0
    try:
        while True:
            into = RecordBatch(TP, columns.next_fetch_offset, columns.next_fetch_offset)
            more = columns.read(into, 10_000)
            found += len(into)
            if not more:
                return found
    except BatchUnreadable as error:
        return error.why


def test_a_bomb_takes_no_more_memory_than_the_bound(tmp_path):
    """600 MiB of zeros in less than 1 MiB must not take 1.2 GB of a worker, since its successor
    would fail the same way. The parts of the result and the joined result are in memory at once.
    """
    for script in (_BOMBS, _OPEN):
        ran = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        )
    sizes = json.loads((tmp_path / "sizes").read_text())
    assert all(size < 11 << 20 for size in sizes.values())
    for why, grown_kib in json.loads(ran.stdout).values():
        assert "more than DIA_BATCH_MAX_BYTES=33554432 bytes" in why
        assert grown_kib < 72 << 10


@pytest.mark.parametrize("codec", PACKERS)
def test_the_bound_is_exact(codec):
    """A batch at the bound is read; one byte more is refused."""
    data = batch(codec, b"x" * 5000, count=20)
    size = len(uncompressed(data, 1 << 20)) - HEADER_BYTES
    assert outcome(data, batch_bytes_max=size) == 20
    assert "DIA_BATCH_MAX_BYTES" in outcome(data, batch_bytes_max=size - 1)


def test_records_before_and_after_a_bomb_are_not_affected():
    """The error names the bomb's offsets, so an order skips exactly those."""
    log = batch(ZSTD, b"a", 3) + batch(ZSTD, bytes(1 << 20), 5, base=3) + batch(0, b"b", 2, base=8)
    columns = fetched(log, batch_bytes_max=1 << 20)
    before = RecordBatch(TP, 0, 0)
    columns.read(before, 100)
    assert before.values == [b"a"] * 3
    with pytest.raises(BatchUnreadable) as caught:
        columns.read(RecordBatch(TP, 3, 3), 100)
    assert (caught.value.offset, caught.value.until) == (3, 8)


@pytest.mark.parametrize("codec", [0, *PACKERS])
@pytest.mark.parametrize("count", [PIECE - 1, PIECE, PIECE + 1, 3 * PIECE])
def test_many_empty_records_are_decoded_in_pieces(codec, count, monkeypatch):
    """A batch of 32 MiB may hold four million records, each an object of a hundred bytes."""
    data = batch(codec, b"", count)
    pieces = list(map(len, _pieces(data)))
    assert sum(pieces) == count
    assert max(pieces) <= PIECE
    assert outcome(data + batch(0, b"z", 1, base=count)) == count + 1


def _pieces(data):
    records = RecordSet(data)
    assert records.has_next()
    return records.records_of(records.next_batch())


def test_a_list_cut_inside_a_piece_goes_on_behind_it():
    """Positions are offsets of the log, wherever pieces and lists end."""
    count = 2 * PIECE + 7
    columns, offsets, more = fetched(batch(LZ4, b"v", count)), [], True
    while more:
        into = RecordBatch(TP, columns.next_fetch_offset, columns.next_fetch_offset)
        more = columns.read(into, 9_999)
        offsets += into.offsets
    assert offsets == list(range(count))
    assert columns.next_fetch_offset == count


def test_damage_behind_the_first_piece_costs_the_offsets_from_its_piece_on():
    """The pieces before it have a valid checksum and are delivered."""
    count = PIECE + 100
    plain = bytearray(uncompressed(batch(ZSTD, b"v", count), 1 << 24))
    plain[-1] = 2  # > a header without its record
    columns = fetched(signed(plain, ZSTD, plain[HEADER_BYTES:]))
    into = RecordBatch(TP, 0, 0)
    assert columns.read(into, 10 * PIECE)
    assert len(into) == PIECE
    with pytest.raises(BatchUnreadable) as caught:
        columns.read(RecordBatch(TP, PIECE, PIECE), 10)
    assert (caught.value.offset, caught.value.until) == (PIECE, count)


@given(st.binary(max_size=3000), st.sampled_from(sorted(PACKERS)), st.integers(0, 4000))
def test_every_codec_returns_the_data_or_reports_the_bound(data, codec, bound):
    """The decoders are aiokafka's except for the bound."""
    whole = signed(bytes(HEADER_BYTES), codec, data)
    if len(data) > bound:
        with pytest.raises(TooManyBytes):
            uncompressed(whole, bound)
    else:
        assert uncompressed(whole, bound)[HEADER_BYTES:] == data


@pytest.mark.parametrize("codec", [0, *PACKERS])
def test_zeros_behind_a_batch_are_no_part_of_it(codec):
    """Kernels read whole words, which reach beyond the last record."""
    data = batch(codec, b"x" * 500, count=3)
    assert uncompressed(data, 1 << 20, padding=32) == uncompressed(data, 1 << 20) + bytes(32)


@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_compressed_streams_of_several_parts_are_read_completely(first, second):
    """gzip, lz4 and zstd streams may be concatenated in one batch; snappy comes in blocks, or raw."""
    for codec in (GZIP, LZ4, ZSTD):
        packed = bytes(PACKERS[codec](first)) + bytes(PACKERS[codec](second))
        assert _decoded(codec, packed) == first + second
    assert _decoded(SNAPPY, bytes(cramjam.snappy.compress_raw(first))) == first
    assert _decoded(SNAPPY, client_codec.snappy_encode(first, True, 100)) == first
    assert _decoded(GZIP, gzip.compress(first) + bytes(40)) == first


def _decoded(codec, packed):
    header = bytearray(HEADER_BYTES)
    struct.pack_into(">h", header, 21, codec)
    return uncompressed(bytes(header) + packed, 1 << 20)[HEADER_BYTES:]


@pytest.mark.parametrize("size", [-4, 0, 1 << 20])
def test_a_snappy_block_with_a_wrong_size_counts_as_damage(size):
    """A block of size -4 would be read again without end."""
    blocks = client_codec.snappy_encode(b"x" * 100, True)
    damaged = blocks[:16] + struct.pack(">i", size) + blocks[20:]
    with pytest.raises(Exception, match="cut short"):
        _decoded(SNAPPY, damaged)
