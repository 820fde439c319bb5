"""The buffer between the client's fetches and the loop that folds."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from types import SimpleNamespace

import pytest
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition as ClientPartition

from streams.connect.broker.kafka.batches.answers import OpeningThread
from streams.connect.broker.kafka.batches.fetches import SILENCE_MAX_S, FetchBuffer
from streams.connect.broker.kafka.batches.record_set import RecordSet
from streams.core import kernels
from streams.core.types import TopicPartition

TP, CLIENT_TP = TopicPartition("t", 0), ClientPartition("t", 0)
NOTHING = frozenset()


def stored(base, rows):
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for at in range(rows):
        builder.append(at, 1000, b"k", b"v", [])
    raw = bytearray(builder.build())
    raw[0:8] = base.to_bytes(8, "big")
    return bytes(raw)


class Fetcher:
    """The part of aiokafka's fetcher that `FetchBuffer` uses, of one partition; its requests are answered
    with ``answers`` in turn, b"" for an empty one, None for a refusal.
    """

    active = True

    def __init__(self, *answers):
        self.answers = [*answers]
        self.state = SimpleNamespace(position=0, paused=False, timestamp=None)
        self.state.consumed_to = lambda position: vars(self.state).update(position=position)
        self._records, self._fetch_waiters = OrderedDict(), set()
        self._wait_consume_future = object()
        self.woken = 0

    def state_value(self, tp):
        return self.state

    async def _proc_fetch_request(self, assignment, node_id, request):
        data = self.answers.pop(0)
        self.state.timestamp = None if data is None else 1
        if data:
            source = (CLIENT_TP, RecordSet(data), [], self.state.position)
            records = PartitionRecords(*source, None, None, True, READ_COMMITTED)
            self._records[CLIENT_TP] = FetchResult(
                CLIENT_TP, assignment=self, backoff=0.1, partition_records=records
            )
        return bool(data)

    def _create_fetch_waiter(self):
        waiter = asyncio.get_running_loop().create_future()
        self._fetch_waiters.add(waiter)
        return waiter

    def _notify(self, future):
        if future is self._wait_consume_future:
            self.woken += 1
        elif not future.done():
            future.set_result(None)

    def seek_to(self, tp, offset):
        self._records.pop(CLIENT_TP, None)
        self.state.position = offset

    async def fetch(self):
        await self._proc_fetch_request(self, 0, SimpleNamespace(topics=[("t", [(0, 0)])]))


async def test_the_client_fetches_on_while_an_answer_is_read():
    """Otherwise the worker waits for the broker once an answer."""
    fetcher = Fetcher(stored(0, 6), stored(6, 2))
    buffer = FetchBuffer(fetcher)
    await fetcher.fetch()
    [first] = buffer.drain(NOTHING, 4).values()
    assert (first.end, buffer.position(TP)) == (4, 4)
    assert (fetcher.state.position, fetcher.woken, [*fetcher._records]) == (6, 1, [])
    await fetcher.fetch()
    ends = [batch.end for _ in range(2) for batch in buffer.drain(NOTHING, 4).values()]
    assert ends == [6, 8]


@pytest.mark.parametrize("silent", [False, True])
async def test_a_doubt_belongs_to_the_answer_behind_it(silent, monkeypatch):
    """The engine compares the log before it folds that answer; what was fetched earlier is of the old log."""
    fetcher = Fetcher(stored(0, 6), stored(6, 2) if silent else None, stored(6, 2))
    buffer = FetchBuffer(fetcher)
    now = SimpleNamespace(s=0.0)
    monkeypatch.setattr(
        "streams.connect.broker.kafka.batches.fetches.time.monotonic", lambda: now.s
    )
    await fetcher.fetch()
    found = [*buffer.drain(NOTHING, 2).values()]
    now.s += SILENCE_MAX_S + 1 if silent else 0
    for _ in range(1 if silent else 2):
        await fetcher.fetch()
    for _ in range(3):
        found += buffer.drain(NOTHING, 2).values()
    told = [(batch.start, batch.continued) for batch in found]
    assert told == [(0, True), (2, True), (4, True), (6, False)]


@pytest.mark.skipif(kernels.active is None, reason="without kernels the loop opens all answers")
async def test_a_cut_is_opened_in_another_thread_and_wakes_the_loop():
    """A worker must neither poll for it nor wait out its fetch timeout."""
    fetcher, threads = Fetcher(stored(0, 6)), []
    buffer = FetchBuffer(
        fetcher,
        prepare=lambda _: threads.append(threading.current_thread()),
        thread=OpeningThread(bytes_min=0),
    )
    await fetcher.fetch()
    try:
        assert buffer.drain(NOTHING, 10) == {}
        async with asyncio.timeout(60):
            await buffer.wait(60)
        [batch] = buffer.drain(NOTHING, 10).values()
    finally:
        buffer.close()
    assert (batch.end, len(threads)) == (6, 1)
    assert threads[0] is not threading.current_thread()
