"""Who is behind and until when, from samples of offsets alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.clock import VirtualClock
from streams.http.console.history.backlogs import POINTS_MAX, BacklogHistory
from streams.http.console.pipeline.freshness import SAMPLE_S

GROUP, TOPIC = "dia-group", "model.metrics"


class Feed:
    """One partition that is written and read at given rates, sampled as the console does."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.history = BacklogHistory(clock)
        self.end = self.committed = 0

    async def run(self, samples: int, *, written: int, read: int) -> None:
        """``written`` and ``read``: records in one interval."""
        for _ in range(samples):
            await self.clock.advance(SAMPLE_S)
            self.end += written
            self.committed = min(self.end, self.committed + read)
            self.take()

    def take(self, *, lag: int | None = -1) -> None:
        unread = self.end - self.committed if lag == -1 else lag
        row = {"group": GROUP, "topic": TOPIC, "partition": 0, "lag": unread}
        row |= {"end": self.end, "committed": self.committed}
        self.history.take([row])

    @property
    def now(self):
        [found] = self.history.backlogs()
        return found


@pytest.fixture
def feed() -> Feed:
    return Feed(VirtualClock())


async def test_a_backlog_says_when_it_is_caught_up(feed):
    """The first question of an operator: who is behind, and until when."""
    await feed.run(7, written=1000, read=0)
    assert feed.now.course == "standing still"
    assert feed.now.caught_up_ms is None
    await feed.run(13, written=100, read=200)
    found = feed.now
    assert found.course == "catching up"
    assert (found.arriving_per_s, found.read_per_s) == (10.0, 20.0)
    left_s = found.unread / 10
    assert found.caught_up_ms == feed.clock.now_ms() + round(1000 * left_s)


async def test_a_backlog_that_grows_has_no_end(feed):
    """A time that is never reached would be worse than none."""
    await feed.run(14, written=300, read=100)
    assert (feed.now.course, feed.now.caught_up_ms) == ("falling behind", None)


async def test_the_newest_records_of_a_reader_that_keeps_up_are_no_backlog(feed):
    """A commit a second leaves some records unread at every moment."""
    await feed.run(2, written=100, read=90)
    await feed.run(12, written=100, read=100)
    assert feed.now.unread == 20
    assert feed.now.course == "keeping up"


async def test_the_age_of_the_oldest_unread_record_follows_from_the_samples(feed):
    """Lag in records says nothing of how late a tenant's figures are."""
    await feed.run(1, written=0, read=0)
    await feed.run(6, written=100, read=0)
    assert (feed.now.behind_s, feed.now.at_least) == (60.0, False)
    await feed.run(30, written=0, read=0)
    assert feed.now.behind_s == 360.0


async def test_records_older_than_every_sample_have_a_lower_bound(feed):
    """A console that began after the backlog knows a part of its age only, and says so."""
    feed.end = 500
    await feed.run(4, written=0, read=0)
    assert (feed.now.behind_s, feed.now.at_least) == (30.0, True)
    assert feed.history.series(0)["readers"][0]["behind_s"] == [0.0, 10.0, 20.0, 30.0]


async def test_an_unknown_lag_is_neither_zero_nor_caught_up(feed):
    """Kafka away must not look like a pipeline without a backlog."""
    await feed.run(14, written=10, read=10)
    feed.take(lag=None)
    found = feed.now
    assert (found.unread, found.course, found.caught_up_ms) == (None, "unknown", None)
    [reader] = feed.history.series(0)["readers"]
    assert [reader[name][-1] for name in ("unread", "behind_s", "read_per_s")] == [None] * 3


async def test_readers_that_kafka_did_not_answer_for_are_unknown(feed):
    """Without an answer there are no rows: the last sample is out of date."""
    await feed.run(14, written=10, read=10)
    await feed.clock.advance(SAMPLE_S)
    feed.history.take([])
    found = feed.now
    assert (found.unread, found.behind_s, found.course) == (None, None, "unknown")
    assert feed.history.series(0)["readers"][0]["unread"][-1] is None


async def test_a_topic_without_an_answer_takes_no_history_of_another_one(feed):
    """A reader whose topic was not described must not empty the charts of all."""
    row = {"group": GROUP, "topic": "other", "partition": 0, "lag": 3, "end": 3, "committed": 0}
    mine = {**row, "topic": TOPIC, "lag": 0}
    for _ in range(14):
        await feed.clock.advance(SAMPLE_S)
        feed.history.take([mine, row])
    await feed.clock.advance(SAMPLE_S)
    feed.history.take([mine])
    found = {one.topic: one for one in feed.history.backlogs()}
    assert (found["other"].unread, found["other"].course) == (None, "unknown")
    assert found[TOPIC].arriving_per_s == 0
    assert len(feed.history.series(0)["t"]) == 15
    await feed.clock.advance(SAMPLE_S)
    feed.history.take([mine, row])
    found = {one.topic: one for one in feed.history.backlogs()}
    assert (found["other"].unread, found["other"].behind_s) == (3, 150.0)


async def test_a_topic_that_was_made_again_has_no_ages_of_the_old_one(feed):
    """Offsets begin anew, so earlier ends say nothing of when a record was appended."""
    feed.end = feed.committed = 1_000_000
    await feed.run(30, written=0, read=0)
    feed.end = feed.committed = 0
    await feed.run(1, written=0, read=0)
    await feed.run(3, written=10, read=5)
    assert feed.now.behind_s <= 3 * SAMPLE_S
    assert feed.now.arriving_per_s == 1.0
    assert max(feed.history.series(0)["readers"][0]["unread"]) == 15


async def test_new_partitions_begin_a_new_history(feed):
    """Columns of earlier samples mean other partitions."""
    await feed.run(14, written=10, read=5)
    rows = [
        {"group": GROUP, "topic": TOPIC, "partition": one, "end": 10, "committed": 0, "lag": 10}
        for one in range(2)
    ]
    feed.history.take(rows)
    assert feed.now.unread == 20
    assert feed.now.arriving_per_s is None
    assert len(feed.history.series(0)["t"]) == 1


async def test_the_rate_of_reading_is_by_processing_time(feed):
    """A chart by event time shows no stop of a pipeline that has caught up since. A step of the wall
    clock is no time of processing."""
    await feed.run(2, written=100, read=0)
    feed.clock.jump_wall(3_600_000)
    await feed.run(2, written=0, read=100)
    await feed.run(1, written=0, read=0)
    feed.end = feed.committed = 0
    await feed.run(1, written=0, read=0)
    [reader] = feed.history.series(0)["readers"]
    assert reader["read_per_s"] == [None, 0.0, 10.0, 10.0, 0.0, None]


async def test_a_day_of_samples_is_a_chart_that_keeps_its_peaks(feed):
    """A minute of backlog within a day must be seen."""
    await feed.run(1000, written=0, read=0)
    await feed.run(1, written=777, read=0)
    await feed.run(1000, written=0, read=777)
    [reader] = feed.history.series(0)["readers"]
    assert len(reader["unread"]) <= POINTS_MAX
    assert max(reader["unread"]) == 777
    assert len(reader["read_per_s"]) == len(reader["unread"])


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=40))
async def test_the_told_age_bounds_the_true_one(steps):
    """Law: the oldest unread record is at most as old as told, and at most one interval younger,
    unless it is older than every sample."""
    feed = Feed(VirtualClock())
    appended: list[float] = []
    feed.take()
    for written, read in steps:
        appended += [feed.clock.monotonic()] * written
        await feed.run(1, written=written, read=read)
        now_s, found = feed.clock.monotonic(), feed.now
        if feed.committed == feed.end:
            assert found.behind_s == 0
            continue
        true_s = now_s - appended[feed.committed]
        assert found.behind_s - SAMPLE_S <= true_s <= found.behind_s
        assert not found.at_least
