"""The cache of one process: bounded in bytes, with eviction of the least recently used entry."""

from __future__ import annotations

import pytest

from streams.connect.cache.local import OVERHEAD_BYTES, LocalCache
from streams.core.clock import VirtualClock


@pytest.fixture
def clock():
    return VirtualClock()


def _keep(cache, name, size=0, ttl_s=10.0):
    cache.keep(name, "v", 1, size, ttl_s, cache.asking())


def test_an_entry_is_charged_more_than_its_value(clock):
    """A million small answers take a gigabyte of names and objects, which the bound must count."""
    cache = LocalCache(clock, 3 * (OVERHEAD_BYTES + 1))
    for name in "abc":
        _keep(cache, name)
    assert cache.bytes == 3 * (OVERHEAD_BYTES + 1)
    assert cache.get("a") is not None
    _keep(cache, "d")
    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]


@pytest.mark.parametrize(("size", "kept"), [(100, True), (101, False)])
def test_a_value_above_the_bound_is_not_kept_and_drops_the_old_one(clock, size, kept):
    """The old value is invalid, whether or not the new one fits."""
    cache = LocalCache(clock, OVERHEAD_BYTES + 1 + 100)
    _keep(cache, "n")
    _keep(cache, "n", size)
    assert (cache.get("n") is not None) is kept
    assert (cache.bytes > 0) is kept


def test_clearing_also_drops_pending_answers(clock):
    """A pending answer from before the clear may be the value that had to be cleared."""
    cache = LocalCache(clock, 10_000)
    _keep(cache, "n")
    asked = cache.asking()
    cache.clear()
    cache.keep("m", "v", 1, 0, 10.0, asked)
    assert (cache.get("n"), cache.get("m")) == (None, None)


async def test_a_lifetime_counts_from_the_request(clock):
    """The answer of a slow source is already old when it arrives."""
    cache = LocalCache(clock, 10_000)
    asked = cache.asking()
    await clock.advance(4)
    cache.keep("n", "v", 1, 0, 10.0, asked)
    await clock.advance(5.9)
    assert cache.get("n") is not None
    await clock.advance(0.2)
    assert cache.get("n") is None
