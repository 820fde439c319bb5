"""Answers that another thread opens, and those that the client fetches meanwhile, give the records that
the log has, once and in order.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from concurrent.futures import Executor, Future

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition as ClientPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.app import AGGREGATE_METRICS
from streams.connect.broker.kafka.batches.answers import OpeningThread
from streams.connect.broker.kafka.batches.fetches import FetchBuffer
from streams.connect.broker.kafka.batches.record_set import RecordSet
from streams.core.errors import BatchUnreadable
from streams.core.types import TopicPartition
from streams.dev.workload.generator import Generator
from streams.dev.workload.shape import preset
from streams.engine.decode.codecs import Limits
from streams.engine.decode.decoding_ahead import DecodingAhead, decoded_once
from streams.engine.decode.scanning import Scanner
from tests.depth import cases

TOPIC, PARTITIONS = AGGREGATE_METRICS.source.name, 3
LZ4, CRC_AT, ATTRIBUTES_AT, CONTROL_BIT, APPEND_TIME = 3, 17, 21, 0x20, 0x08
LIMITS, T_MS = Limits(300, 604_800), 1_700_000_000_000
ROWS_MAX = 12
EVENTS = [
    (key, value)
    for block in Generator(preset("narrow", start_ms=T_MS)).blocks(200, 50)
    for key, value in zip(block.keys, block.values, strict=True)
]

kinds = st.lists(st.sampled_from(["data", "data", "bad", "marker", "torn"]), max_size=8)
logs = st.lists(
    st.lists(st.tuples(kinds, st.integers(1, 4)), max_size=3), min_size=1, max_size=PARTITIONS
)
numbers = st.integers(0, PARTITIONS - 1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("answer"), st.integers(1, 4)),
        st.tuples(st.just("open"), st.integers(1, 3)),
        st.tuples(st.just("drain"), st.integers(1, ROWS_MAX)),
        st.tuples(st.sampled_from(["pause", "resume"]), numbers),
        st.tuples(st.just("seek"), st.tuples(numbers, st.integers(0, 60))),
    ),
    max_size=25,
)


def _batch(base, kind, rows):
    """As a broker stores it."""
    marker = kind == "marker"
    codec, producer = (0, 7) if marker else (LZ4, -1)
    builder = DefaultRecordBatchBuilder(2, codec, int(marker), producer, -1, -1, 1 << 20)
    for at in range(rows):
        key, value = EVENTS[(base + at) % len(EVENTS)]
        if marker:
            key, value = b"\0\0\0\1", b"\0" * 6
        builder.append(at, T_MS, key, b"{" if kind == "bad" else value, [])
    raw = bytearray(builder.build())
    raw[0:8] = base.to_bytes(8, "big")
    raw[ATTRIBUTES_AT + 1] |= APPEND_TIME | (CONTROL_BIT if marker else 0)
    raw[35:43] = T_MS.to_bytes(8, "big")
    raw[CRC_AT : CRC_AT + 4] = calc_crc32c(bytes(raw[ATTRIBUTES_AT:])).to_bytes(4, "big")
    if kind == "torn":
        raw[-1] ^= 1
    return bytes(raw)


class Log:
    def __init__(self, plan):
        self.batches, self.offsets, self.torn, end = [], [], [], 0
        for several, rows in plan:
            for kind in several:
                count = 1 if kind == "marker" else rows
                self.batches.append((end, end + count, _batch(end, kind, count)))
                if kind in ("data", "bad"):
                    self.offsets += range(end, end + count)
                elif kind == "torn":
                    self.torn.append((end, end + count))
                end += count
        self.end = end

    def answer(self, position, batches):
        return b"".join([one for _, end, one in self.batches if end > position][:batches])


class Later(Executor):
    """Runs calls when the test says so: every interleaving with the loop, without a thread."""

    def __init__(self):
        self.waiting = deque()

    def submit(self, call, /, *arguments, **named):
        future = Future()
        self.waiting.append((future, lambda: call(*arguments, **named)))
        return future

    def run(self, calls):
        for _ in range(min(calls, len(self.waiting))):
            future, call = self.waiting.popleft()
            try:
                future.set_result(call())
            except BatchUnreadable as error:
                future.set_exception(error)


class State:
    position, paused, timestamp = 0, False, None

    def consumed_to(self, position):
        self.position = position


class Client:
    """aiokafka's fetcher and the broker behind it."""

    active = True

    def __init__(self, found):
        self.logs = {ClientPartition(TOPIC, number): log for number, log in enumerate(found)}
        self.states = {tp: State() for tp in self.logs}
        self._records, self._fetch_waiters = OrderedDict(), set()
        self._wait_consume_future = self._proc_fetch_request = None

    def state_value(self, tp):
        return self.states[ClientPartition(*tp)]

    def _notify(self, future):
        """No caller waits."""

    def seek_to(self, tp, offset):
        self._records.pop(ClientPartition(*tp), None)
        self.state_value(tp).position = offset

    def answer(self, batches):
        """As to a fetch of every partition that has no answer and is not paused."""
        for tp, log in self.logs.items():
            state = self.states[tp]
            data = log.answer(state.position, batches)
            if tp in self._records or state.paused or not data:
                continue
            source = PartitionRecords(
                *(tp, RecordSet(data), [], state.position, None, None, True, READ_COMMITTED)
            )
            self._records[tp] = FetchResult(
                tp, assignment=self, backoff=0.1, partition_records=source
            )


class Reading:
    """What a worker reads of some logs, checked against them."""

    def __init__(self, found, *, ahead):
        self.later, self.client = Later(), Client(found)
        thread = OpeningThread(self.later, bytes_min=0) if ahead else None
        self.prepare = DecodingAhead({TOPIC: AGGREGATE_METRICS.source}, LIMITS)
        self.scanner = Scanner.of(AGGREGATE_METRICS.source)
        self.buffer = FetchBuffer(self.client, prepare=self.prepare, thread=thread)
        self.positions = dict.fromkeys((TopicPartition(*tp) for tp in self.client.logs), 0)
        self.paused = set()

    def do(self, step, what):
        tp = TopicPartition(TOPIC, what[0] if step == "seek" else what)
        if step == "answer":
            self.client.answer(what)
        elif step == "open":
            self.later.run(what)
        elif step == "drain":
            self.drain(what)
        elif tp not in self.positions:
            return
        elif step == "seek":
            self.seek(tp, min(what[1], self.client.logs[tp].end))
        else:
            (self.paused.add if step == "pause" else self.paused.discard)(tp)
            self.client.state_value(tp).paused = step == "pause"

    def seek(self, tp, offset):
        self.buffer.seek(tp, offset)
        self.positions[tp] = offset

    def drain(self, room):
        """Whether anything was read."""
        try:
            batches = self.buffer.drain(frozenset(self.paused), room)
        except BatchUnreadable as error:
            self.skip(error)
            return True
        assert sum(map(len, batches.values())) <= room
        for tp, batch in batches.items():
            assert tp not in self.paused
            self.check(tp, batch)
        return bool(batches)

    def skip(self, error):
        tp = TopicPartition(*error.tp)
        assert self.positions[tp] == error.offset
        torn = self.client.logs[tp].torn
        assert any(first <= error.offset < until == error.until for first, until in torn)
        self.seek(tp, error.until)

    def check(self, tp, batch):
        assert batch.start == self.positions[tp]
        self.positions[tp] = batch.end
        known = self.buffer.position(tp)
        assert batch.end == (self.client.state_value(tp).position if known is None else known)
        log = self.client.logs[tp]
        assert [*batch.offsets] == [at for at in log.offsets if batch.start <= at < batch.end]
        if not len(batch):
            return
        topic = AGGREGATE_METRICS.source
        assert self.scanner is None or batch.decoded is not None or not batch.framed
        found = decoded_once(batch, self.scanner, topic, LIMITS)
        alone = decoded_once(batch.take(range(len(batch))), None, topic, LIMITS)
        assert [one.position for one in found.bad] == [one.position for one in alone.bad]
        assert [*found.events] == [*alone.events]

    def to_the_end(self):
        """Without a wait: what is there must be read without another wake-up."""
        for tp in self.positions:
            self.do("resume", tp.partition)
        for _ in range(400):
            self.client.answer(2)
            while self.drain(2):
                self.client.answer(2)
            if self.later.waiting:
                self.later.run(1)
                continue
            assert not self.drain(2), "no wake-up would have come for what this read"
            if all(self.positions[tp] == log.end for tp, log in self.client.logs.items()):
                return
        pytest.fail(f"stands still at {self.positions}")


@pytest.mark.parametrize("ahead", [False, True])
@settings(max_examples=cases(300))
@given(logs, steps)
def test_read_ahead_is_what_the_log_holds(ahead, plans, taken):
    """However threads, answers, pauses and seeks follow each other; damaged batches are named once a seek."""

    async def read():
        reading = Reading([Log(plan) for plan in plans], ahead=ahead)
        for step, what in taken:
            reading.do(step, what)
        reading.to_the_end()

    asyncio.run(read())
