"""A shared value: bounded number of reads, bounded age."""

from __future__ import annotations

import asyncio

import pytest

from streams.connect.cache.cached_value import CachedValue
from streams.core.errors import BrokerUnavailable


class Clock:
    """The clock moves only when the test moves it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


class Source:
    """Counts its reads; each read waits for ``go``."""

    def __init__(self) -> None:
        self.reads = 0
        self.go = asyncio.Event()
        self.go.set()
        self.error: Exception | None = None

    async def read(self) -> int:
        self.reads += 1
        number = self.reads
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return number


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def recent(source, clock) -> CachedValue[int]:
    return CachedValue(source.read, 2.0, clock)


async def test_concurrent_callers_share_one_read(source, recent):
    """Two hundred concurrent callers cause one read."""
    source.go.clear()
    waiting = [asyncio.create_task(recent.get()) for _ in range(200)]
    await asyncio.sleep(0)
    source.go.set()
    assert set(await asyncio.gather(*waiting)) == {1}
    assert source.reads == 1


async def test_it_is_read_again_when_it_is_too_old(source, recent, clock):
    """Its age counts from the request, so a slow answer is already old."""
    source.go.clear()
    first = asyncio.create_task(recent.get())
    await asyncio.sleep(0)
    clock.now_s += 1.5
    source.go.set()
    assert await first == 1
    assert await recent.get() == 1
    clock.now_s += 0.5
    assert await recent.get() == 2


async def test_a_read_from_before_a_change_is_not_returned_after_it(source, recent):
    """A caller that writes and then reads must see its write."""
    source.go.clear()
    before = asyncio.create_task(recent.get())
    await asyncio.sleep(0)
    recent.forget()
    after = asyncio.create_task(recent.get())
    await asyncio.sleep(0)
    source.go.set()
    assert (await before, await after) == (1, 2)
    assert await recent.get() == 2


async def test_a_failure_is_raised_and_not_cached(source, recent):
    """The next caller causes a new read."""
    source.error = BrokerUnavailable("away")
    with pytest.raises(BrokerUnavailable):
        await recent.get()
    source.error = None
    assert await recent.get() == 2


async def test_closing_cancels_a_running_read(source, recent):
    """A stopped console leaves no task behind."""
    source.go.clear()
    waiting = asyncio.create_task(recent.get())
    await asyncio.sleep(0)
    await recent.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_forgotten_value_is_read_again_although_it_is_fresh():
    """Who changes the source calls `forget`: the next reader must see the change, at each of several."""
    source, clock = Source(), Clock()
    cached = CachedValue(source.read, 60.0, clock)
    assert [await cached.get(), await cached.get()] == [1, 1]
    for number in (2, 3):
        cached.forget()
        assert [await cached.get(), await cached.get()] == [number, number]
