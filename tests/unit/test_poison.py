"""The poison breaker."""

from __future__ import annotations

import pytest

from streams.errors import PoisonStorm
from streams.runtime.poison import PoisonBreaker, PoisonLimits
from streams.types import TopicPartition

LIMITS = PoisonLimits(window_s=10.0, min_records=100, max_ratio=0.5)


def breaker() -> PoisonBreaker:
    return PoisonBreaker(TopicPartition("t", 0), LIMITS)


def test_a_storm_stops_the_partition():
    """A bad deploy makes every record bad."""
    watched = breaker()
    watched.observe(0.0, 60, 60)
    with pytest.raises(PoisonStorm, match="120 of the last 120"):
        watched.observe(1.0, 60, 60)


def test_poison_at_the_head_of_a_topic_does_not_stop_it():
    """A ratio over a handful of records says nothing, and a stop there would loop for ever."""
    watched = breaker()
    watched.observe(0.0, 1, 1)
    watched.observe(1.0, 98, 98)


def test_a_trickle_goes_on():
    """One per cent of bad records is an ordinary day."""
    watched = breaker()
    for second in range(100):
        watched.observe(float(second), 1000, 10)


def test_what_is_older_than_the_window_is_forgotten():
    """Yesterday's storm must not count against today's records."""
    watched = breaker()
    watched.observe(0.0, 99, 99)
    watched.observe(11.0, 99, 49)
    watched.observe(12.0, 99, 49)


def test_good_records_of_before_do_not_dilute_a_storm():
    """A deploy that spoils everything is seen in its own ten seconds, however well it went before."""
    watched = breaker()
    watched.observe(0.0, 1_000_000, 0)
    with pytest.raises(PoisonStorm, match="60 of the last 100"):
        watched.observe(11.0, 100, 60)


def test_what_an_operator_let_through_is_not_counted():
    """Else the restart after `dia dlq breaker reset` would stop at the same records again."""
    watched = PoisonBreaker(TopicPartition("t", 0), LIMITS, pass_until=500)
    watched.observe(0.0, 500, 500, start=0)
    watched.observe(1.0, 99, 99, start=499)
    watched.observe(2.0, 99, 99, start=500)
    with pytest.raises(PoisonStorm, match="100 of the last 100"):
        watched.observe(3.0, 1, 1, start=599)


def test_a_breaker_without_a_mark_counts_from_the_first_record_on():
    """Offset 0 is a record like any other."""
    with pytest.raises(PoisonStorm):
        breaker().observe(0.0, 200, 200, start=0)
