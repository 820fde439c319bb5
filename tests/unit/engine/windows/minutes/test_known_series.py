"""Active series of a partition: their cached shards, and their number by tenant."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.windows.minutes.known_series import GENERATION_MS, KnownSeries, SeriesQuota
from streams.engine.windows.minutes.names import SeriesNames, renumber

NOW_MS = 1_764_392_400_000
FREE = SeriesQuota(1_000_000)


class SeriesOfPartition:
    """Names and the known series of one partition; every look-up of a series is counted."""

    def __init__(self, quota=FREE):
        self.names = SeriesNames()
        self.asked = []
        self.known = KnownSeries(self._shard_of, quota)

    def _shard_of(self, tenants, models, metrics):
        self.asked += zip(tenants, models, strict=True)
        return np.array([len(tenant) % 3 for tenant in tenants], np.int32)

    def keys(self, *series):
        tenants, models = [one[0] for one in series], [one[1] for one in series]
        return self.names.keys(tenants, models, ["x"] * len(series))

    def open(self, *series):
        """Open a window of each series, as a batch does; returns their shards."""
        return self.known.of(self.names, np.unique(self.keys(*series))).tolist()

    def refused(self, *series, at_ms=NOW_MS):
        """The series of a batch that are over quota; the others are opened."""
        keys = self.keys(*series)
        found = self.known.beyond(keys, at_ms)
        good = keys if found is None else keys[~found]
        if len(good):
            self.known.of(self.names, np.unique(good))
        return [] if found is None else [series[i] for i in np.flatnonzero(found).tolist()]


def series(tenant, *numbers):
    return [(tenant, f"m{number}") for number in numbers]


def test_a_shard_is_computed_once():
    """Windows open by the million, series by the thousand."""
    town = SeriesOfPartition()
    tenants = ["a", "bb", "ccc", "dddd"]
    assert town.open(*((tenant, "m") for tenant in tenants)) == [1, 2, 0, 1]
    assert town.open(("ccc", "m"), ("a", "m")) == [1, 0]
    assert len(town.asked) == 4


def test_a_series_expires_after_a_whole_generation_without_events():
    """Series that come and go must not accumulate; active ones stay."""
    town = SeriesOfPartition()
    for generation in range(5):
        at_ms = NOW_MS + generation * GENERATION_MS
        town.refused(("steady", "m"), ("gone", f"m{generation}"), at_ms=at_ms)
        assert len(town.known) == 1 + min(generation + 1, 2)
    assert len(town.asked) == 6


def test_one_tenant_has_at_most_half_of_a_partitions_series():
    """10 M series of one tenant must not stop the partition for all."""
    town = SeriesOfPartition(SeriesQuota(10))
    assert town.refused(*series("hog", *range(8))) == series("hog", 5, 6, 7)
    assert town.refused(*series("hog", 4, 5), *series("b", 1, 2)) == series("hog", 5)
    assert town.refused(*series("c", *range(5))) == series("c", 2, 3, 4)


def test_known_series_go_on_however_full_it_is():
    """A tenant over its quota loses new series only."""
    town = SeriesOfPartition(SeriesQuota(10, quota=3))
    assert town.refused(*series("a", 0, 1, 2, 3, 0, 3, 1)) == series("a", 3, 3)
    assert town.refused(*series("a", 2, 1, 0)) == []


def test_new_series_a_minute_are_bounded_in_append_time():
    """Two million new names within minutes exceed the memory although few series are active at a
    time.
    """
    town = SeriesOfPartition(SeriesQuota(1000, new_a_minute=3))
    assert town.refused(*series("a", 0, 1, 2, 3), *series("b", 9)) == series("a", 3)
    assert town.refused(*series("a", 4), at_ms=NOW_MS + 59_000) == series("a", 4)
    assert town.refused(*series("a", 4), at_ms=NOW_MS + 60_000) == []


def test_series_expire_after_the_clock_was_ahead_for_a_day():
    """Append times are a broker's wall clock; after it is set back, series must still expire."""
    town = SeriesOfPartition(SeriesQuota(10, new_a_minute=3))
    town.refused(*series("a", 0, 1, 2), at_ms=NOW_MS + 86_400_000)
    assert town.refused(*series("a", 3, 4), at_ms=NOW_MS) == []
    for generation in range(3):
        town.refused(*series("b", 1), at_ms=NOW_MS + generation * GENERATION_MS)
    assert len(town.known) == 1


def test_tenants_of_one_batch_do_not_exceed_the_bound_together():
    """Each tenant alone has room, but not all together."""
    town = SeriesOfPartition(SeriesQuota(9))
    batch = [one for tenant in "abcdef" for one in series(tenant, *range(5))]
    town.refused(*batch)
    assert len(town.known) <= 9


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=20),
        max_size=8,
    ),
    st.integers(2, 12),
    st.booleans(),
)
def test_counts_equal_the_number_of_active_series(batches, bound, renumbered):
    """Also across generations and renumbered names; a count that drifts would refuse series without
    end.
    """
    town, at_ms = SeriesOfPartition(SeriesQuota(bound)), NOW_MS
    for batch in batches:
        at_ms += GENERATION_MS // 3
        town.refused(*((tenant, f"m{n}") for tenant, n in batch), at_ms=at_ms)
        if renumbered:
            town.names, keys = renumber(town.names, town.known.keys)
            town.known.renumber(keys)
        alive = set(zip(*town.names.series(np.unique(town.known.keys))[:2], strict=True))
        assert len(town.known) == len(alive) <= bound
        for tenant in {tenant for tenant, _ in alive}:
            code = town.names.tenants.code[tenant]
            assert town.known._alive[code] == sum(owner == tenant for owner, _ in alive)


@pytest.mark.parametrize("count", [1023, 1024, 5000])
def test_the_table_grows(count):
    """From one page to millions of series."""
    town = SeriesOfPartition()
    town.open(*series("a", *range(count)))
    assert len(town.known) == count
    assert town.open(*series("a", 0, count - 1)) == [1, 1]
    assert town.known.bytes_used > 12 * count
