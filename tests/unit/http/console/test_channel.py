"""A channel: one read serves all watchers, and a slow watcher delays no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from streams.core.clock import SystemClock
from streams.core.errors import BrokerUnavailable
from streams.http.console.pages.channel import HEARTBEAT, Channel

LASTING_S = 30.0


class Counter:
    """A value that changes at each read once the test allows it."""

    def __init__(self) -> None:
        self.reads = 0
        self.value = 0
        self.error: Exception | None = None

    async def read(self) -> bytes:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return b"%d" % self.value


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def channel(counter) -> Channel:
    return Channel(counter.read, 0.001, SystemClock())


async def _first(events: AsyncIterator[bytes]) -> bytes:
    """The first event with data."""
    async for event in events:
        if event.startswith((b"data:", b"event:")):
            return event
    raise AssertionError("the stream ended")


async def test_watchers_share_one_poller(counter, channel):
    """Two hundred watchers must cost the stores as much as one."""
    before = asyncio.all_tasks()
    streams = [channel.events(LASTING_S, LASTING_S) for _ in range(200)]
    told = await asyncio.gather(*map(_first, streams))
    assert set(told) == {b"data: 0\n\n"}
    assert len(asyncio.all_tasks() - before) == 1
    assert channel.watchers == 200
    for stream in streams:
        await stream.aclose()
    assert channel.watchers == 0


async def test_the_stores_are_not_read_without_watchers(counter, channel):
    """A console without watchers makes no requests to the stores."""
    async with aclosing(channel.events(LASTING_S, LASTING_S)) as events:
        await _first(events)
    await asyncio.sleep(0)
    reads = counter.reads
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert counter.reads == reads


async def test_a_slow_watcher_gets_the_newest_and_not_the_backlog(counter, channel):
    """A browser with a slow connection must neither delay others nor fill the console's memory."""
    async with (
        aclosing(channel.events(LASTING_S, LASTING_S)) as slow,
        aclosing(channel.events(LASTING_S, LASTING_S)) as quick,
    ):
        await _first(slow)
        for counter.value in range(1, 6):
            while await _first(quick) != b"data: %d\n\n" % counter.value:
                pass
        assert await _first(slow) == b"data: 5\n\n"


async def test_unchanged_data_is_not_sent_again(counter, channel):
    """Between two changes only a heartbeat is sent."""
    async with aclosing(channel.events(LASTING_S, 0.05)) as events:
        assert await _first(events) == b"data: 0\n\n"
        assert await anext(events) == HEARTBEAT
        assert counter.reads > 1


async def test_an_error_is_sent_and_reading_goes_on(counter, channel):
    """An outage of the broker for a minute must not end the page's updates."""
    counter.error = BrokerUnavailable("no broker answers at 10.0.0.7:9092")
    async with aclosing(channel.events(LASTING_S, LASTING_S)) as events:
        told = await _first(events)
        assert told.startswith(b"event: trouble\n")
        assert b"broker_unavailable" in told
        assert b"10.0.0.7" not in told
        counter.error = None
        assert await _first(events) == b"data: 0\n\n"


async def test_a_bug_in_reading_ends_the_stream_instead_of_hanging_it(counter, channel):
    """Otherwise watchers of a dead poller would see heartbeats and old figures without end."""
    counter.error = ZeroDivisionError()
    async with aclosing(channel.events(LASTING_S, 0.01)) as events:
        with pytest.raises(ZeroDivisionError):
            await _first(events)


async def test_a_stream_has_a_maximum_duration(channel):
    """Permission is checked again with the next stream."""
    events = [event async for event in channel.events(0.02, LASTING_S)]
    assert events[-1].startswith((b"data:", HEARTBEAT))
    assert channel.watchers == 0
