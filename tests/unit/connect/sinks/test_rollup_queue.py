"""Recomputation of hours and days: one computation answers all requests from before its start."""

from __future__ import annotations

import asyncio

import pytest

from streams.connect.sinks.rollup_queue import REST, REST_MAX_S, BucketStart, RollUpQueue
from streams.core.clock import VirtualClock
from streams.core.errors import RollUpExpired, ShardUnavailable
from streams.core.telemetry.metrics import Metrics

HOUR = BucketStart(0, "h1", 3600)
DAY = BucketStart(1, "d1", 0)
ITS_HOUR = BucketStart(1, "h1", 7200)


class Shards:
    """Counts recomputations, and raises the configured error."""

    def __init__(self, clock) -> None:
        self.clock = clock
        self.asked = []
        self.errors = []
        self.slow_s = 0.0

    async def roll_up(self, shard, table, start_s) -> None:
        self.asked.append((shard, table, start_s))
        await self.clock.sleep(self.slow_s)
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture
async def queue():
    clock = VirtualClock()
    made = RollUpQueue(Shards(clock), clock, Metrics(), interval_s=10.0)
    made.clock, made.shards = clock, made._shards
    task = asyncio.ensure_future(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_one_recomputation_answers_all_earlier_requests(queue):
    """However many minutes of an hour changed, it is computed once per interval."""
    done = []
    for number in range(5):
        queue.submit(object(), HOUR, lambda number=number: done.append(number))
    queue.submit(object(), DAY, lambda: done.append("day"))
    await queue.clock.advance(11)
    assert sorted(queue.shards.asked) == sorted([tuple(HOUR), tuple(DAY)])
    assert set(done) == {0, 1, 2, 3, 4, "day"}


async def test_a_request_during_a_recomputation_gets_another(queue):
    """The running computation may have read the minutes before the later rows arrived."""
    done = []
    queue.shards.slow_s = 5.0
    queue.submit(object(), HOUR, lambda: done.append("early"))
    await queue.clock.advance(11)
    assert queue.shards.asked == [tuple(HOUR)]
    queue.submit(object(), HOUR, lambda: done.append("late"))
    await queue.clock.advance(5)
    assert done == ["early"]
    await queue.clock.advance(REST_MAX_S + 5)
    assert done == ["early", "late"]
    assert len(queue.shards.asked) == 2


async def test_a_failed_recomputation_is_repeated_until_it_succeeds(queue):
    """An outage of a shard must not leave an hour without its roll-up."""
    done = []
    queue.shards.errors = [ShardUnavailable("away"), ShardUnavailable("away")]
    queue.submit(object(), HOUR, lambda: done.append(1))
    await queue.clock.advance(15)
    assert done == []
    await queue.clock.advance(20)
    assert done == [1]
    assert len(queue.shards.asked) == 3


async def test_pending_hours_of_a_day_are_recomputed_before_it(queue):
    """A day is computed from its hours: one that lacks a minute would answer no request."""
    done = []
    queue.submit(object(), DAY, lambda: done.append("day"))
    queue.submit(object(), ITS_HOUR, lambda: done.append("hour"))
    queue.submit(object(), BucketStart(1, "h1", 86_400), lambda: done.append("next day's hour"))
    await queue.clock.advance(11)
    assert done.index("hour") < done.index("day")
    assert queue.shards.asked.index(tuple(ITS_HOUR)) < queue.shards.asked.index(tuple(DAY))


async def test_a_day_waits_for_an_hour_that_failed(queue):
    """The day's input does not exist yet."""
    done = []
    queue.shards.errors = [ShardUnavailable("away"), ShardUnavailable("away")]
    queue.submit(object(), ITS_HOUR, lambda: done.append("hour"))
    queue.submit(object(), DAY, lambda: done.append("day"))
    await queue.clock.advance(60)
    assert done == ["hour", "day"]
    assert queue.shards.asked == [tuple(ITS_HOUR)] * 3 + [tuple(DAY)]


async def test_a_long_recomputation_is_followed_by_a_long_rest(queue):
    """A recomputation reads its whole bucket: at a fixed pace a full hour would use the whole
    shard.
    """
    queue.shards.slow_s = 2.0
    for _ in range(120):
        queue.submit(object(), HOUR, lambda: None)
        await queue.clock.advance(1)
    assert 2 <= len(queue.shards.asked) <= 4
    assert queue.shards.slow_s * REST < REST_MAX_S


async def test_an_hour_that_was_recomputed_with_its_day_rests_too(queue):
    """Otherwise each recomputation with the day would be followed by one of the hour alone."""
    queue.shards.slow_s = 2.0
    queue.submit(object(), DAY, lambda: None)
    await queue.clock.advance(4)
    queue.submit(object(), ITS_HOUR, lambda: None)
    await queue.clock.advance(10)
    assert queue.shards.asked == [tuple(ITS_HOUR), tuple(DAY)]
    queue.submit(object(), ITS_HOUR, lambda: None)
    await queue.clock.advance(30)
    assert queue.shards.asked.count(tuple(ITS_HOUR)) == 1
    await queue.clock.advance(20)
    assert queue.shards.asked.count(tuple(ITS_HOUR)) == 2


async def test_an_hour_that_failed_with_its_day_waits_before_it_is_tried_again(queue):
    """Both were due at once: an absent shard is not asked twice in a row."""
    done = []
    queue.shards.slow_s = 30.0
    for bucket in (HOUR, DAY, ITS_HOUR):
        queue.submit(object(), bucket, lambda bucket=bucket: done.append(bucket))
        await queue.clock.advance(3)
    while not done:
        await queue.clock.advance(0.1)
    queue.shards.slow_s, queue.shards.errors = 0.0, [ShardUnavailable("away")]
    await queue.clock.advance(2)
    assert queue.shards.asked == [tuple(HOUR), tuple(ITS_HOUR)]
    await queue.clock.advance(10)
    assert done == [HOUR, ITS_HOUR, DAY]


async def test_the_longest_rest_is_bounded(queue):
    """Hours follow their last minute within 60 s, whatever they cost."""
    done = []
    queue.shards.slow_s = 8.0
    queue.submit(object(), HOUR, lambda: done.append(1))
    await queue.clock.advance(20)
    queue.submit(object(), HOUR, lambda: done.append(2))
    await queue.clock.advance(REST_MAX_S + 10)
    assert done == [1, 2]


async def test_an_expired_bucket_is_not_recomputed(queue):
    """Recomputing it from expired minutes would shrink the stored row: it is reported and not
    repeated.
    """
    done = []
    queue.shards.errors = [RollUpExpired("minutes are gone")]
    queue.submit(object(), HOUR, lambda: done.append(1))
    await queue.clock.advance(60)
    assert (done, len(queue.shards.asked)) == ([1], 1)


async def test_a_forgotten_owner_gets_no_answer_and_causes_no_work(queue):
    """The partition has another owner."""
    done, gone = [], object()
    queue.submit(gone, HOUR, lambda: done.append("gone"))
    queue.submit(gone, DAY, lambda: done.append("gone"))
    queue.submit(object(), DAY, lambda: done.append("kept"))
    queue.forget(gone)
    await queue.clock.advance(60)
    assert done == ["kept"]
    assert queue.shards.asked == [tuple(DAY)]


async def _until_asked(shards, clock):
    """Wait for the start of the first recomputation, which comes within the tests' interval."""
    for _ in range(30):
        if shards.asked:
            return
        await clock.advance(0.5)
    pytest.fail("no recomputation started within 15 s")


async def test_an_hour_is_recomputed_within_its_interval_but_not_in_the_first_half_of_it():
    """One recomputation serves many minutes of an hour. Over many seeds the whole second half of
    the interval is used, so that the hours of a shard do not coincide.
    """
    began = []
    for seed in range(60):
        clock = VirtualClock()
        shards = Shards(clock)
        queue = RollUpQueue(shards, clock, Metrics(), interval_s=10.0, seed=seed)
        running = asyncio.ensure_future(queue.run())
        queue.submit(object(), HOUR, lambda: None)
        await _until_asked(shards, clock)
        began.append(clock.monotonic())
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert 5 <= min(began) < 6
    assert 9.5 <= max(began) <= 10.5


@pytest.mark.parametrize(("took_s", "rest_s"), [(1.0, 20.0), (2.0, 40.0), (3.0, 45.0)])
async def test_the_rest_is_twenty_times_the_work_and_at_most_three_quarters_of_a_minute(
    queue, took_s, rest_s
):
    """Recomputations take at most 1/20 of a shard's time, and hours and days still follow within 60
    s.
    """
    queue.shards.slow_s = took_s
    queue.submit(object(), HOUR, lambda: None)
    await _until_asked(queue.shards, queue.clock)
    await queue.clock.advance(took_s)
    queue.submit(object(), HOUR, lambda: None)
    await queue.clock.advance(rest_s - 0.5)
    assert len(queue.shards.asked) == 1
    await queue.clock.advance(1.0)
    assert len(queue.shards.asked) == 2


async def test_a_failed_recomputation_is_tried_again_after_five_seconds(queue):
    """An absent shard is not asked in a tight loop, and one that is back is asked soon."""
    queue.shards.errors = [ShardUnavailable("away")]
    queue.submit(object(), HOUR, lambda: None)
    await _until_asked(queue.shards, queue.clock)
    await queue.clock.advance(4.5)
    assert len(queue.shards.asked) == 1
    await queue.clock.advance(1.0)
    assert len(queue.shards.asked) == 2


async def test_a_day_does_not_end_the_rest_of_its_hour(queue):
    """A day is recomputed with its pending hours, which would end their rest early."""
    queue.shards.slow_s = 2.0
    queue.submit(object(), ITS_HOUR, lambda: None)
    await _until_asked(queue.shards, queue.clock)
    await queue.clock.advance(2)
    queue.submit(object(), ITS_HOUR, lambda: None)
    queue.submit(object(), DAY, lambda: None)
    await queue.clock.advance(39)
    assert queue.shards.asked == [tuple(ITS_HOUR)]
    await queue.clock.advance(6)
    assert queue.shards.asked == [tuple(ITS_HOUR), tuple(ITS_HOUR), tuple(DAY)]


async def test_a_day_does_not_wait_for_an_hour_whose_owner_left(queue):
    """The new owner of the partition requests the hour; the day of the remaining owners is
    computed.
    """
    leaving, done = object(), []
    queue.submit(leaving, ITS_HOUR, lambda: done.append("hour"))
    queue.forget(leaving)
    queue.submit(object(), DAY, lambda: done.append("day"))
    await queue.clock.advance(11)
    assert (queue.shards.asked, done) == ([tuple(DAY)], ["day"])


async def test_an_hour_leaves_no_entry_after_its_rest(queue):
    """Hours and days come without end, so none may leave an entry in memory."""
    queue.submit(object(), HOUR, lambda: None)
    await queue.clock.advance(11 + REST_MAX_S + 1)
    assert len(queue.shards.asked) == 1
    assert (queue._owed, queue._due_at, queue._rests_until) == ({}, {}, {})


async def test_recomputations_and_refusals_are_counted(queue):
    """An expired hour is missing in its day: an alert uses the count."""
    queue.shards.errors = [RollUpExpired("minutes have begun to expire")]
    queue.submit(object(), HOUR, lambda: None)
    await _until_asked(queue.shards, queue.clock)
    queue.submit(object(), DAY, lambda: None)
    await queue.clock.advance(11)
    value = queue._metrics.registry.get_sample_value
    assert value("dia_rollups_refused_total", {"table": "h1"}) == 1
    assert value("dia_rollups_total", {"table": "h1"}) is None
    assert value("dia_rollups_total", {"table": "d1"}) == 1


async def test_a_growing_bucket_is_recomputed_once_it_is_complete(queue):
    """A recomputation reads its whole bucket. For an hour that a backlog passes in 30 s only the
    last one is useful.
    """
    owner, done = object(), []
    for number in range(30):
        queue.submit(owner, HOUR, lambda number=number: done.append(number), growing=True)
        await queue.clock.advance(1)
    assert queue.shards.asked == []
    queue.submit(owner, HOUR, lambda: done.append("whole"))
    await queue.clock.advance(11)
    assert queue.shards.asked == [tuple(HOUR)]
    assert done == [*range(30), "whole"]


async def test_a_growing_bucket_waits_for_a_bounded_time(queue):
    """Hours and days follow their last minute within 60 s, also in a backlog without an end."""
    owner, done = object(), []
    began = queue.clock.monotonic()
    for bucket in (HOUR, DAY, ITS_HOUR):
        queue.submit(owner, bucket, lambda bucket=bucket: done.append(bucket), growing=True)
    for _ in range(60):
        queue.submit(owner, HOUR, lambda: None, growing=True)
        await queue.clock.advance(1)
        if len(done) == 3:
            break
    assert 0.9 * REST_MAX_S < queue.clock.monotonic() - began < REST_MAX_S + 5


async def test_a_bucket_waits_for_all_owners_that_add_to_it(queue):
    """Partitions process a backlog in parallel, and each has minutes of the same hour."""
    first, second = object(), object()
    for owner in (first, second, first):
        queue.submit(owner, HOUR, lambda: None, growing=True)
    queue.submit(first, HOUR, lambda: None)
    await queue.clock.advance(20)
    assert queue.shards.asked == []
    queue.submit(second, HOUR, lambda: None)
    await queue.clock.advance(11)
    assert queue.shards.asked == [tuple(HOUR)]


@pytest.mark.parametrize("way", ["caught_up", "forget"])
async def test_a_bucket_does_not_wait_for_an_owner_that_has_finished(queue, way):
    """The owner has caught up or is lost; its last minutes may belong to other shards and hours."""
    owner, other, done = object(), object(), []
    for bucket in (DAY, ITS_HOUR, HOUR):
        queue.submit(owner, bucket, lambda: done.append("owner's"), growing=True)
        queue.submit(other, bucket, lambda: done.append("other's"))
    await queue.clock.advance(20)
    assert done == []
    getattr(queue, way)(owner)
    await queue.clock.advance(11)
    assert sorted(queue.shards.asked) == sorted(map(tuple, (DAY, ITS_HOUR, HOUR)))
    assert done.count("other's") == 3
    assert done.count("owner's") == (3 if way == "caught_up" else 0)
