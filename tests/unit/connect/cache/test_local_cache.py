"""What one process keeps of a cache: bounded in bytes, the least recently used goes first."""

from __future__ import annotations

import pytest

from streams.connect.cache.local import OVERHEAD_BYTES, LocalCache
from streams.core.clock import VirtualClock


@pytest.fixture
def clock():
    return VirtualClock()


def _keep(cache, name, size=0, ttl_s=10.0):
    cache.keep(name, "v", 1, size, ttl_s, cache.asking())


def test_an_entry_costs_more_than_its_value(clock):
    """A million small answers are a gigabyte of names and objects: the bound must see them."""
    cache = LocalCache(clock, 3 * (OVERHEAD_BYTES + 1))
    for name in "abc":
        _keep(cache, name)
    assert cache.bytes == 3 * (OVERHEAD_BYTES + 1)
    assert cache.get("a") is not None
    _keep(cache, "d")
    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]


@pytest.mark.parametrize(("size", "kept"), [(100, True), (101, False)])
def test_what_is_larger_than_the_whole_is_not_kept_and_nor_is_what_it_replaces(clock, size, kept):
    """The old value is no longer true, whether or not there is room for the new one."""
    cache = LocalCache(clock, OVERHEAD_BYTES + 1 + 100)
    _keep(cache, "n")
    _keep(cache, "n", size)
    assert (cache.get("n") is not None) is kept
    assert (cache.bytes > 0) is kept


def test_clearing_also_forgets_answers_that_are_under_way(clock):
    """A value that was asked for before may be the one that was cleared for."""
    cache = LocalCache(clock, 10_000)
    _keep(cache, "n")
    asked = cache.asking()
    cache.clear()
    cache.keep("m", "v", 1, 0, 10.0, asked)
    assert (cache.get("n"), cache.get("m")) == (None, None)


async def test_a_life_counts_from_when_the_value_was_asked_for(clock):
    """A source that takes long to answer gives an answer that is already old."""
    cache = LocalCache(clock, 10_000)
    asked = cache.asking()
    await clock.advance(4)
    cache.keep("n", "v", 1, 0, 10.0, asked)
    await clock.advance(5.9)
    assert cache.get("n") is not None
    await clock.advance(0.2)
    assert cache.get("n") is None
