"""Hours of load from the rows of several shards."""

from __future__ import annotations

from streams.operate.capacity.hourly_load import HOUR_S, summed, unnamed_of


def test_shards_are_added_up_and_hours_without_rows_had_no_load():
    """A partition's rows are on one shard, an hour has rows on all."""
    answers = [[(10, 5, 50), (11, 7, 70)], [(11, 1, 10), (13, 2, 20)], []]
    load = summed(answers, 15 * HOUR_S)
    assert load.start_s == 11 * HOUR_S
    assert load.events.tolist() == [8, 0, 2, 0]
    assert load.bytes.tolist() == [80, 0, 20, 0]
    assert load.end_s == 15 * HOUR_S


def test_an_empty_history_has_no_hours():
    """A new installation asks, too."""
    load = summed([[], []], 15 * HOUR_S)
    assert (len(load.events), load.end_s - load.start_s) == (0, 0)


def test_events_without_a_named_tenant_are_a_share_of_all():
    """A tenant's figures are a lower bound then."""
    assert unnamed_of([[(30, 100)], [(0, 50)], [(0, 0)]]) == 0.2
    assert unnamed_of([[(0, 0)]]) == 0.0
