"""Many ask for one value: it is read as rarely as promised, and never older than promised."""

from __future__ import annotations

import asyncio

import pytest

from streams.connect.cache.cached_value import CachedValue
from streams.core.errors import BrokerUnavailable


class Clock:
    """Time stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


class Source:
    """Counts how often it is read; each reading waits for ``go``."""

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


async def test_a_crowd_shares_one_reading(source, recent):
    """Two hundred who come at once must cost what one costs."""
    source.go.clear()
    waiting = [asyncio.create_task(recent.get()) for _ in range(200)]
    await asyncio.sleep(0)
    source.go.set()
    assert set(await asyncio.gather(*waiting)) == {1}
    assert source.reads == 1


async def test_it_is_read_again_when_it_is_too_old(source, recent, clock):
    """Its age counts from the question: a slow answer is not young because it came late."""
    source.go.clear()
    first = asyncio.create_task(recent.get())
    await asyncio.sleep(0)
    clock.now_s += 1.5
    source.go.set()
    assert await first == 1
    assert await recent.get() == 1
    clock.now_s += 0.5
    assert await recent.get() == 2


async def test_what_was_begun_before_a_change_is_not_given_after_it(source, recent):
    """Whoever writes and then reads must see what it wrote."""
    source.go.clear()
    before = asyncio.create_task(recent.get())
    await asyncio.sleep(0)
    recent.forget()
    after = asyncio.create_task(recent.get())
    await asyncio.sleep(0)
    source.go.set()
    assert (await before, await after) == (1, 2)
    assert await recent.get() == 2


async def test_a_failure_is_told_and_not_kept(source, recent):
    """The next who asks is answered by whoever is back by then."""
    source.error = BrokerUnavailable("away")
    with pytest.raises(BrokerUnavailable):
        await recent.get()
    source.error = None
    assert await recent.get() == 2


async def test_closing_ends_a_reading_under_way(source, recent):
    """A console that is stopped leaves no task behind."""
    source.go.clear()
    waiting = asyncio.create_task(recent.get())
    await asyncio.sleep(0)
    await recent.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
