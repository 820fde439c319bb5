"""The cache of shards: the same answer as without it."""

from __future__ import annotations

import numpy as np
import pytest

from tables import series_shards
from tables.names import SeriesNames
from tables.series_shards import SeriesShards


@pytest.fixture
def asked():
    return []


@pytest.fixture
def cache(asked):
    def shard_of(tenants, models, metrics):
        asked.extend(tenants)
        return np.array([len(tenant) % 3 for tenant in tenants], np.int32)

    return SeriesShards(shard_of)


def keys(names, tenants):
    return names.keys(tenants, ["m"] * len(tenants), ["x"] * len(tenants))


def test_a_series_is_hashed_once(cache, asked):
    """Windows open by the million, series by the thousand."""
    names = SeriesNames()
    tenants = ["a", "bb", "ccc", "dddd"]
    assert cache.of(names, keys(names, tenants)).tolist() == [1, 2, 0, 1]
    assert cache.of(names, keys(names, ["ccc", "e", "a"])).tolist() == [0, 1, 1]
    assert asked == [*tenants, "e"]


def test_a_full_cache_begins_anew_and_answers_the_same(cache, asked, monkeypatch):
    """It has a bound, as everything that grows."""
    monkeypatch.setattr(series_shards, "_SERIES_MAX", 3)
    names = SeriesNames()
    for _ in range(2):
        for tenants in (["a", "bb"], ["ccc", "dddd"]):
            shards = cache.of(names, keys(names, tenants)).tolist()
            assert shards == [len(tenant) % 3 for tenant in tenants]
    assert len(asked) == 8
