"""The poison breaker."""

from __future__ import annotations

from collections import Counter

import pytest

from streams.core.errors import PoisonStorm
from streams.core.types import TopicPartition
from streams.engine.runtime.poison.poison import (
    TENANTS_MAX,
    UNKNOWN_TENANT,
    PoisonBreaker,
    PoisonLimits,
)

LIMITS = PoisonLimits(window_s=10.0, min_records=100, max_ratio=0.5, min_tenants=3)


class Watched(PoisonBreaker):
    """A breaker that is fed with (records, invalid records) of each tenant."""

    def __init__(self, pass_until: int = 0, limits: PoisonLimits = LIMITS) -> None:
        super().__init__(TopicPartition("t", 0), limits, pass_until)

    def fold(self, now_s: float, start: int = 0, **sent: tuple[int, int]) -> list[str]:
        """The tenants that are judged mostly bad. ``none`` stands for records without a tenant."""
        counts = {_name(tenant): records for tenant, (records, _) in sent.items()}
        bad = Counter({_name(tenant): bad for tenant, (_, bad) in sent.items() if bad})
        found = self.observe(now_s, sum(counts.values()), bad, lambda: counts, start)
        return sorted(tenant.decode() for tenant in found)


def _name(tenant: str) -> bytes:
    return UNKNOWN_TENANT if tenant == "none" else tenant.encode()


def test_a_storm_of_many_tenants_stops_the_partition():
    """A bad deploy makes the records of all tenants invalid."""
    watched = Watched()
    watched.fold(0.0, a=(60, 60), b=(60, 60), c=(60, 60))
    with pytest.raises(PoisonStorm, match="360 of the last 360"):
        watched.fold(1.0, a=(60, 60), b=(60, 60), c=(60, 60))


def test_a_storm_of_records_without_a_tenant_stops_the_partition():
    """Such records may belong to any tenant; only a direct writer of the topic can send them."""
    watched = Watched()
    watched.fold(0.0, none=(60, 60))
    with pytest.raises(PoisonStorm, match="120 of the last 120"):
        watched.fold(1.0, none=(60, 60))


@pytest.mark.parametrize("bad_tenants", [1, 2])
def test_fewer_tenants_than_the_setting_cannot_stop_it(bad_tenants):
    """One bad producer must not stop the others, however much it sends."""
    watched = Watched()
    sent = {f"t{n}": (5000, 5000) for n in range(bad_tenants)}
    for second in range(5):
        found = watched.fold(float(second), good=(1, 0), **sent)
    assert found == sorted(sent)


def test_small_mistakes_of_others_do_not_help_one_tenant_to_stop_it():
    """Otherwise an attacker needs only one invalid record each of two other tenants."""
    watched = Watched()
    watched.fold(0.0, attacker=(99, 99), b=(1, 1), c=(1, 1), d=(30, 14))
    assert watched.fold(1.0, attacker=(3000, 3000), b=(1, 1), d=(30, 14)) == ["attacker"]


def test_a_storm_of_many_small_tenants_stops_it():
    """No tenant alone has enough records to be judged."""
    watched = Watched()
    with pytest.raises(PoisonStorm):
        watched.fold(0.0, **{f"t{n}": (10, 10) for n in range(12)})


def test_with_one_tenant_needed_any_storm_stops_it():
    """For a partition with one tenant, or with tenants that trust each other."""
    watched = Watched(limits=LIMITS._replace(min_tenants=1))
    with pytest.raises(PoisonStorm):
        watched.fold(0.0, a=(100, 51))


def test_poison_at_the_head_of_a_topic_does_not_stop_it():
    """A ratio of few records is not significant, and a stop there would repeat without end."""
    watched = Watched()
    assert watched.fold(0.0, none=(1, 1)) == []
    assert watched.fold(1.0, none=(98, 98)) == []


def test_a_small_ratio_of_invalid_records_does_not_stop_it():
    """One per cent of invalid records is normal."""
    watched = Watched()
    for second in range(100):
        assert watched.fold(float(second), a=(500, 5), none=(500, 5)) == []


def test_good_records_of_others_stay_when_the_worst_tenants_are_left_out():
    """Without the two worst tenants the rest is within the ratio."""
    watched = Watched()
    assert watched.fold(0.0, a=(5000, 5000), b=(5000, 5000), good=(200, 0)) == ["a", "b"]


def test_the_worst_tenants_are_those_in_excess_and_not_those_with_most_bad_records():
    """A large tenant within the ratio has more invalid records than small tenants that send only
    such. Without the two worst of the small ones the rest is within the ratio.
    """
    watched = Watched()
    found = watched.fold(0.0, large=(2000, 900), b=(150, 150), c=(140, 140), d=(130, 130))
    assert found == ["b", "c", "d"]


def test_records_older_than_the_window_are_forgotten():
    """Old invalid records must not count against new records."""
    watched = Watched()
    watched.fold(0.0, a=(99, 99), none=(99, 99))
    watched.fold(11.0, a=(99, 49), none=(99, 49))
    assert watched.fold(12.0, a=(99, 49), none=(99, 49)) == []


def test_records_inside_the_window_are_kept():
    """A storm that began 2 s ago counts, however old the records before it are."""
    watched = Watched()
    watched.fold(0.0, none=(1, 0))
    watched.fold(9.0, none=(60, 60))
    with pytest.raises(PoisonStorm, match="100 of the last 100"):
        watched.fold(11.0, none=(40, 40))


def test_the_records_of_a_tenant_age_with_its_bad_ones():
    """Both counts cover the same window: otherwise a tenant's ratio would fall without end."""
    watched = Watched()
    for second in (0.0, 5.0, 11.0):
        watched.fold(second, a=(100, 10))
    assert watched.shares(b"a") == (20, 200)


def test_earlier_valid_records_do_not_dilute_a_storm():
    """The records of the last 10 s decide, however many valid ones came before."""
    watched = Watched()
    watched.fold(0.0, none=(1_000_000, 0))
    with pytest.raises(PoisonStorm, match="60 of the last 100"):
        watched.fold(11.0, none=(100, 60))


def test_a_tenant_is_judged_by_its_records_since_its_first_bad_one():
    """Records are counted by tenant only from the first invalid one on, which keeps valid batches
    cheap.
    """
    watched = Watched()
    calls = []
    watched.observe(0.0, 5000, Counter(), lambda: calls.append(1) or {}, 0)
    assert calls == []
    assert watched.fold(1.0, a=(300, 140)) == []
    assert watched.fold(2.0, a=(100, 100)) == ["a"]
    assert watched.shares(b"a") == (240, 400)


def test_a_tenant_whose_bad_records_have_aged_begins_anew():
    """In the second storm the ratio counts all records since its first invalid one, and none before
    it.
    """
    watched = Watched()
    watched.fold(0.0, a=(50, 50), b=(10, 10))
    watched.fold(5.0, a=(1000, 0), b=(10, 10))
    watched.fold(11.0, a=(10, 0), b=(10, 10))
    assert watched.shares(b"a") == (0, 0)
    assert watched.fold(12.0, a=(100, 51), b=(10, 10)) == ["a"]
    assert watched.shares(b"a") == (51, 100)
    watched.fold(16.0, a=(10, 0), b=(10, 10))
    assert watched.shares(b"a") == (51, 110)


def test_records_that_an_operator_let_through_are_not_counted():
    """Otherwise the restart after `dia dlq breaker reset` would stop at the same records."""
    watched = Watched(pass_until=500)
    watched.fold(0.0, none=(500, 500), start=0)
    watched.fold(1.0, none=(99, 99), start=499)
    watched.fold(2.0, none=(99, 99), start=500)
    with pytest.raises(PoisonStorm, match="100 of the last 100"):
        watched.fold(3.0, none=(1, 1), start=599)


def test_a_breaker_without_a_mark_counts_from_the_first_record_on():
    """A breaker without a mark includes offset 0."""
    with pytest.raises(PoisonStorm):
        Watched().fold(0.0, none=(200, 200), start=0)


def test_the_number_of_counted_tenants_is_bounded():
    """A producer that sends each record with a new tenant must not fill the worker's memory."""
    watched = Watched(limits=LIMITS._replace(min_records=10**9))
    for batch in range(4):
        names = [b"%d" % (batch * TENANTS_MAX + n) for n in range(TENANTS_MAX)]
        watched.observe(
            float(batch), len(names), Counter(names), lambda names=names: Counter(names), 0
        )
    assert len(watched._bad) == TENANTS_MAX + 1
    assert watched._bad[UNKNOWN_TENANT] == 3 * TENANTS_MAX
