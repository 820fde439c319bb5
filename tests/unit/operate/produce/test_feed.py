"""Feeding a topic: every record acknowledged, few blocks in flight, at the given rate."""

from __future__ import annotations

import asyncio

import pytest

from streams.core.clock import VirtualClock
from streams.core.errors import BrokerUnavailable
from streams.operate.produce.feed import BLOCKS_IN_FLIGHT_MAX, RecordFeed


class Producer:
    """A `PlainProducer` whose acknowledgements the test triggers."""

    def __init__(self) -> None:
        self.open: list[asyncio.Future[None]] = []

    async def send_many(self, topic, keys, values, headers=()):
        acknowledged = asyncio.get_running_loop().create_future()
        self.open.append(acknowledged)
        return acknowledged


def block(size: int) -> tuple[list[bytes], list[bytes]]:
    return [b"k"] * size, [b"v"] * size


async def test_only_a_few_blocks_are_in_flight():
    """A slow broker must slow the source down instead of filling the memory."""
    producer, told = Producer(), []
    feed = RecordFeed(producer, "t", VirtualClock(), on_progress=told.append)
    for _ in range(BLOCKS_IN_FLIGHT_MAX):
        await feed.send(*block(10))
    waiting = asyncio.ensure_future(feed.send(*block(10)))
    await asyncio.sleep(0)
    assert not waiting.done()
    producer.open[0].set_result(None)
    await waiting
    assert (feed.acknowledged, told) == (10, [10])
    for acknowledged in producer.open[1:]:
        acknowledged.set_result(None)
    await feed.drain()
    assert feed.acknowledged == 10 * (BLOCKS_IN_FLIGHT_MAX + 1) == sum(told)


async def test_blocks_are_sent_at_the_given_rate():
    """Users rehearse production load with a rate."""
    clock, producer = VirtualClock(), Producer()
    feed = RecordFeed(producer, "t", clock, rate_per_s=100)

    async def send() -> None:
        for _ in range(5):
            await feed.send(*block(50))

    sending = asyncio.ensure_future(send())
    await clock.advance(0)
    sent = [len(producer.open)]
    for _ in range(4):
        await clock.advance(0.5)
        sent.append(len(producer.open))
    assert sent == [1, 2, 3, 4, 5]
    await sending


async def test_a_failed_send_is_raised():
    """Unacknowledged records must not be counted."""
    producer = Producer()
    feed = RecordFeed(producer, "t", VirtualClock())
    await feed.send(*block(1))
    producer.open[0].set_exception(BrokerUnavailable("away"))
    with pytest.raises(BrokerUnavailable):
        await feed.drain()
    assert feed.acknowledged == 0


async def test_an_outage_is_waited_for_and_told():
    """A broker restarts within a minute, and a load of hours must not end with it."""
    clock, producer, told = VirtualClock(), Producer(), []
    feed = RecordFeed(producer, "t", clock, on_waiting=told.append, patience_s=60)
    await feed.send(*block(3), 7)
    await feed.send(*block(2), 9)
    draining = asyncio.ensure_future(feed.drain())
    await clock.advance(0)
    for _ in range(4):
        await clock.advance(5)
    assert told == [5, 10, 15, 20]
    producer.open[0].set_result(None)
    producer.open[1].set_result(None)
    await draining
    assert told[-1] == 0
    assert (feed.acknowledged, feed.acknowledged_to) == (5, 9)


@pytest.mark.parametrize("at", ["send", "acknowledgement"])
async def test_a_feed_gives_up_after_its_patience(at):
    """An unattended command must end, and say up to where all is acknowledged."""
    clock, producer = VirtualClock(), Producer()
    feed = RecordFeed(producer, "t", clock, patience_s=60)
    await feed.send(*block(3), 7)
    producer.open[0].set_result(None)
    await feed.drain()
    if at == "send":
        producer.send_many = lambda *_: asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(feed.send(*block(2), 9))
    else:
        await feed.send(*block(2), 9)
        waiting = asyncio.ensure_future(feed.drain())
    await clock.advance(0)
    for _ in range(11):
        await clock.advance(5)
    assert not waiting.done()
    await clock.advance(5)
    with pytest.raises(BrokerUnavailable, match="no record of t for 60 s"):
        await waiting
    assert (feed.acknowledged, feed.acknowledged_to) == (3, 7)


async def test_an_empty_block_is_not_sent():
    """All lines of a chunk may have been refused."""
    producer = Producer()
    await RecordFeed(producer, "t", VirtualClock()).send([], [])
    assert producer.open == []
