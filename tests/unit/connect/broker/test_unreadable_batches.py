"""Batches that brokers accept and clients cannot read: each is named, and other batches are
unaffected.
"""

from __future__ import annotations

import gzip
import random
import struct
from collections import OrderedDict

import cramjam
import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition as ClientPartition
from hypothesis import given
from hypothesis import strategies as st

from streams.connect.broker.kafka.batches.columns import ColumnFetch
from streams.connect.broker.kafka.batches.fetches import FetchBuffer
from streams.connect.broker.kafka.batches.record_set import RecordSet
from streams.core.errors import BatchUnreadable
from streams.core.types import RecordBatch, TopicPartition

TP = TopicPartition("t", 0)
GZIP, SNAPPY, LZ4, ZSTD, UNKNOWN = 1, 2, 3, 4, 5
LENGTH_AT, EPOCH_AT, CRC_AT, ATTRIBUTES_AT, RECORDS_AT = 8, 12, 17, 21, 61
LAST_OFFSET_DELTA_AT = 23
LOG_APPEND_TIME = 0x08


def batch(base, count, *, epoch=0, append_time=True, headers=()):
    """Uncompressed, in the broker's format."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for at in range(count):
        builder.append(at, 1000 + at, b"k", b"v%d" % (base + at), list(headers))
    raw = bytearray(builder.build())
    struct.pack_into(">q", raw, 0, base)
    struct.pack_into(">i", raw, EPOCH_AT, epoch)
    if append_time:
        raw[ATTRIBUTES_AT + 1] |= LOG_APPEND_TIME
    return signed(raw)


def signed(raw):
    """With the length and the checksum of its contents: a broker would accept it."""
    struct.pack_into(">i", raw, LENGTH_AT, len(raw) - EPOCH_AT)
    struct.pack_into(">I", raw, CRC_AT, calc_crc32c(bytes(raw[ATTRIBUTES_AT:])))
    return bytes(raw)


def repacked(base, count, codec, pack):
    """The batch with its records transformed by ``pack``, declared as compressed by ``codec``."""
    raw = bytearray(batch(base, count))
    raw[ATTRIBUTES_AT + 1] |= codec
    return signed(raw[:RECORDS_AT] + pack(bytes(raw[RECORDS_AT:])))


def lz4_with_a_wrong_checksum(data):
    """Java's client, and so the broker, does not verify the content checksum of an LZ4 frame."""
    frames = cramjam.lz4.Compressor(level=1, content_checksum=True, block_linked=False)
    frames.compress(data)
    frame = bytearray(bytes(frames.finish()))
    frame[-1] ^= 0xFF
    return bytes(frame)


def legacy(magic, base):
    builder = LegacyRecordBatchBuilder(magic, 0, 1 << 20)
    builder.append(0, 1000, b"k", b"v")
    raw = bytearray(builder.build())
    struct.pack_into(">q", raw, 0, base)
    return bytes(raw)


def with_a_wrong_crc(base):
    raw = bytearray(batch(base, 4))
    raw[-1] ^= 1
    return bytes(raw)


def numbered(base, *deltas):
    """Records at these offsets from ``base``, under the header of as many consecutive ones."""
    raw = bytearray(batch(base, len(deltas))[:RECORDS_AT])
    for delta in deltas:
        body = b"\0\0" + _varint(delta) + b"\2k\2v\0"
        raw += _varint(len(body)) + body
    return signed(raw)


def _varint(number):
    word, out = (number << 1) ^ (number >> 63), bytearray()
    while word >= 0x80:
        out.append(word & 0x7F | 0x80)
        word >>= 7
    return bytes(out) + bytes([word])


DAMAGED = {
    "offsets_behind_the_batch": numbered(3, 0, 1, 2, 1_000_000),
    "offsets_before_the_batch": numbered(3, -2, 1, 2, 3),
    "offsets_that_fall": numbered(3, 2, 0, 1, 3),
    "lz4_content_checksum": repacked(3, 4, LZ4, lz4_with_a_wrong_checksum),
    "lz4_trailing_bytes": repacked(
        3, 4, LZ4, lambda data: bytes(cramjam.lz4.compress(data)) + b"trailing"
    ),
    "gzip_trailing_bytes": repacked(3, 4, GZIP, lambda data: gzip.compress(data) + b"trailing"),
    "unknown_codec": repacked(3, 4, UNKNOWN, lambda data: data),
    "wrong_crc": with_a_wrong_crc(3),
    "record_length": repacked(3, 4, 0, lambda data: bytes([data[0] ^ 2]) + data[1:]),
    **{
        f"garbage_under_{codec}": repacked(3, 4, codec, lambda data: b"\0garbage\xff" * 3)
        for codec in (GZIP, SNAPPY, LZ4, ZSTD)
    },
}


def columns_of(data, start=0, **options):
    source = PartitionRecords(TP, RecordSet(data), [], start, None, None, True, READ_COMMITTED)
    return ColumnFetch(TP, source, **options)


def read(columns, most=100):
    """The next list, and whether there may be more."""
    found = RecordBatch(TP, columns.next_fetch_offset, columns.next_fetch_offset)
    more = columns.read(found, most)
    found.end = columns.next_fetch_offset
    return found, more


@pytest.mark.parametrize("framing", [False, True])
@pytest.mark.parametrize("name", DAMAGED)
def test_records_before_a_damaged_batch_are_delivered_first(name, framing):
    """An operator needs partition, first and last offset to skip exactly this batch."""
    columns = columns_of(batch(0, 3) + DAMAGED[name] + batch(7, 2), framing=framing)
    found, more = read(columns)
    assert (found.values, found.end, more) == ([b"v0", b"v1", b"v2"], 3, True)
    for _ in range(2):
        with pytest.raises(BatchUnreadable, match="t/0: the batch at offsets 3 to 6") as caught:
            read(columns)
        assert (caught.value.tp, caught.value.offset, caught.value.until) == (TP, 3, 7)


@pytest.mark.parametrize(
    "name", [name for name in DAMAGED if not name.startswith(("offsets", "record"))]
)
def test_a_search_does_not_pass_over_what_it_cannot_open(name):
    """ "Not found" must not cover records that were never looked at."""
    columns = columns_of(batch(0, 3) + DAMAGED[name], needles=[b"absent"])
    found, _ = read(columns)
    assert (len(found), found.end) == (0, 3)
    with pytest.raises(BatchUnreadable) as caught:
        read(columns)
    assert (caught.value.offset, caught.value.until) == (3, 7)


@pytest.mark.parametrize("framing", [False, True])
def test_offsets_may_skip_within_their_batch(framing):
    """Compaction removes records from the middle and keeps the header."""
    raw = bytearray(numbered(3, 1, 3, 4))
    struct.pack_into(">i", raw, LAST_OFFSET_DELTA_AT, 5)
    found, _ = read(columns_of(signed(raw), start=3, framing=framing))
    assert (found.offsets, found.end) == ([4, 6, 7], 9)


@pytest.mark.parametrize("magic", [0, 1])
def test_formats_before_v2_are_named(magic):
    """Brokers before 4.0 still store them; dia reads the format in use since 2017."""
    with pytest.raises(BatchUnreadable, match=f"record format v{magic}") as caught:
        read(columns_of(legacy(magic, 8), start=8))
    assert (caught.value.offset, caught.value.until) == (8, 9)


def test_a_torn_batch_is_named_only_where_an_answer_begins_with_it():
    """After other batches the cause is the size limit of the answer: the next fetch returns it
    whole.
    """
    found, more = read(columns_of(batch(0, 3) + batch(3, 4)[:-5]))
    assert (found.end, more) == (3, False)
    for size in (5, 30, 70):
        with pytest.raises(BatchUnreadable, match="cut short"):
            read(columns_of(batch(3, 4)[:size], start=3))


def test_a_wrong_end_in_a_header_skips_at_least_one_offset():
    """A skip must advance, whatever the damaged header says."""
    raw = bytearray(with_a_wrong_crc(3))
    struct.pack_into(">i", raw, 23, -100)
    with pytest.raises(BatchUnreadable) as caught:
        read(columns_of(bytes(raw), start=3))
    assert (caught.value.offset, caught.value.until) == (3, 4)


@given(st.integers(0, 2**32), st.sampled_from([0, GZIP, SNAPPY, LZ4, ZSTD]), st.booleans())
def test_every_damage_raises_the_same_error(seed, codec, wrong_name):
    """A producer may compute a valid checksum over any bytes."""
    rng = random.Random(seed)
    packers = {
        0: bytes, GZIP: gzip.compress, SNAPPY: cramjam.snappy.compress_raw,
        LZ4: cramjam.lz4.compress, ZSTD: cramjam.zstd.compress,
    }  # fmt: skip
    headers = [("name", b"x")] if wrong_name else []
    raw = bytearray(batch(3, 4, headers=headers))
    body = bytearray(raw[RECORDS_AT:].replace(b"name", b"na\xffe"))
    for _ in range(rng.randint(0, 3)):
        body[rng.randrange(len(body))] = rng.randrange(256)
    packed = bytearray(bytes(packers[codec](bytes(body))))
    for _ in range(rng.randint(0, 2)):
        packed[rng.randrange(len(packed))] = rng.randrange(256)
    raw[ATTRIBUTES_AT + 1] |= codec
    columns = columns_of(batch(0, 3) + signed(raw[:RECORDS_AT] + packed))
    delivered, more, named = [], True, 3
    while more:
        try:
            found, more = read(columns, 2)
            delivered += found.offsets
        except BatchUnreadable as error:
            more, named = False, error.offset
    assert (delivered[:3], named) == ([0, 1, 2], 3)


# --- the fetch buffer --------------------------------------------------------------------------


class State:
    position = 0
    paused = False
    timestamp = None

    def consumed_to(self, position):
        self.position = position


class Assigned:
    active = True

    def __init__(self, count):
        self.states = {ClientPartition("t", number): State() for number in range(count)}

    def state_value(self, tp):
        return self.states[ClientPartition(*tp)]


class Fetcher:
    """The part of aiokafka's fetcher that `FetchBuffer` uses; ``answers`` are brokers' answers by
    partition.
    """

    def __init__(self, *answers):
        self.assigned = Assigned(len(answers))
        self._records = OrderedDict()
        self._wait_consume_future = None
        for number, data in enumerate(answers):
            tp = ClientPartition("t", number)
            records = PartitionRecords(tp, RecordSet(data), [], 0, None, None, True, READ_COMMITTED)
            self._records[tp] = FetchResult(
                tp, assignment=self.assigned, backoff=0.1, partition_records=records
            )

    async def _proc_fetch_request(self, assignment, node_id, request):
        raise AssertionError("these tests fetch from no broker")

    def _notify(self, future):
        """No caller waits for it."""

    def seek_to(self, tp, offset):
        self._records.pop(ClientPartition(*tp), None)
        self.assigned.state_value(tp).position = offset


@pytest.mark.parametrize("first", [0, 1])
def test_lists_of_other_partitions_are_delivered_beside_a_damaged_batch(first):
    """Their positions have advanced: a discarded list would count as read."""
    answers = [batch(0, 3), with_a_wrong_crc(0)]
    fetcher = Fetcher(*(answers if first == 0 else reversed(answers)))
    buffer = FetchBuffer(fetcher)
    good, bad = TopicPartition("t", first), TopicPartition("t", 1 - first)
    delivered, raised = {}, []
    for _ in range(4):
        try:
            delivered |= buffer.drain(frozenset(), 100)
        except BatchUnreadable as error:
            raised.append((error.tp, error.offset))
    assert list(delivered) == [good]
    assert delivered[good].end == fetcher.assigned.state_value(good).position == 3
    assert raised == [(bad, 0)]
    buffer.seek(bad, 4)
    assert buffer.drain(frozenset(), 100) == {}


def test_a_list_never_mixes_append_times_with_producers_times():
    """The engine folds by append time and must know where it ends."""
    columns = columns_of(batch(0, 3) + batch(3, 2, append_time=False) + batch(5, 1))
    kinds = []
    for _ in range(3):
        found, _ = read(columns)
        kinds.append((found.offsets, found.append_times))
    assert kinds == [([0, 1, 2], True), ([3, 4], False), ([5], True)]


def test_a_list_names_the_leader_epochs_it_was_appended_under():
    """A log that lost its end continues under another epoch, which is how the loss is detected."""
    columns = columns_of(batch(0, 3, epoch=4) + batch(3, 2, epoch=6))
    found, _ = read(columns, 2)
    assert (found.first_epoch, found.last_epoch) == (4, 4)
    found, _ = read(columns)
    assert (found.offsets, found.first_epoch, found.last_epoch) == ([2, 3, 4], 4, 6)
