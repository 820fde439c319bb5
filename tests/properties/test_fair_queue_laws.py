"""The fair queue loses no job, starves no tenant, and bounds the wait in the high-priority lane."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.runtime.jobs.fair_queue import QUEUES_MAX, FairQueue

SHARE = 0.25
TENANTS = st.sampled_from("abcde")
LANES = st.sampled_from(["high", "normal"])
JOBS = st.lists(st.tuples(LANES, TENANTS, st.sampled_from("xyz")), min_size=1, max_size=60)


def always(job):
    return True


def never(job, place):
    return False


def filled(jobs):
    queue = FairQueue(SHARE, never)
    for number, (lane, tenant, name) in enumerate(jobs):
        queue.push(lane, tenant, name, (number, lane, tenant, name))
    return queue


def drained(queue, may_start=always):
    return list(iter(lambda: queue.pop(may_start), None))


@given(JOBS)
def test_every_job_starts_once_in_its_tenants_order(jobs):
    """The queue reorders tenants; it must not lose, repeat or reorder jobs of one tenant."""
    queue = filled(jobs)
    assert len(queue) == len(jobs)
    started = drained(queue)
    assert Counter(number for number, *_ in started) == Counter(range(len(jobs)))
    assert len(queue) == queue.length("high") == queue.length("normal") == 0
    order = defaultdict(list)
    for number, lane, tenant, _ in started:
        order[lane, tenant].append(number)
    assert all(numbers == sorted(numbers) for numbers in order.values())


@given(JOBS, JOBS)
def test_a_job_waits_for_a_bounded_number_of_starts_in_its_lane(jobs, later):
    """The bound is (k + 1) T whatever arrives meanwhile: so no job starves."""
    queue = filled(jobs)
    before = Counter()
    bound = {}
    for number, (lane, tenant, _) in enumerate(jobs):
        before[lane, tenant] += 1
        bound[number] = before[lane, tenant] * 5
    position = Counter()
    arriving = iter(enumerate(later, len(jobs)))
    while (started := queue.pop(always)) is not None:
        number, lane, *_ = started
        position[lane] += 1
        if number in bound:
            assert position[lane] <= bound[number]
        for next_number, (lane, tenant, name) in arriving:
            queue.push(lane, tenant, name, (next_number, lane, tenant, name))
            break


@given(st.integers(1, 80), st.integers(1, 80))
def test_the_normal_lane_keeps_its_share_of_starts(high, normal):
    """While both lanes have jobs, high goes first but does not take every start."""
    jobs = [("high", f"h{i % 3}", "x") for i in range(high)]
    queue = filled(jobs + [("normal", f"n{i % 3}", "x") for i in range(normal)])
    started = [lane for _, lane, *_ in drained(queue)]
    for end in range(1, len(started)):
        if started[:end].count("high") == high or started[:end].count("normal") == normal:
            break
        served = started[:end].count("normal")
        assert math.floor(end * SHARE) - 1 <= served <= math.ceil(end * SHARE)
    assert started[0] == "high"


@given(JOBS, st.sets(st.sampled_from("xyz")))
def test_a_closed_queue_delays_only_its_own_jobs(jobs, closed):
    """A scenario at its limit must not stop the others, of this tenant or of another."""
    queue = filled(jobs)
    started = drained(queue, lambda job: job[3] not in closed)
    assert sorted(number for number, *_ in started) == [
        number for number, (_, _, name) in enumerate(jobs) if name not in closed
    ]
    assert len(drained(queue)) == len(jobs) - len(started)


@given(JOBS, TENANTS)
def test_a_removed_job_does_not_start(jobs, tenant):
    """Jobs of a revoked partition must not run on this worker."""
    queue = filled(jobs)
    removed = queue.remove(lambda job: job[2] == tenant)
    started = drained(queue)
    assert {job[2] for job in removed} <= {tenant}
    assert tenant not in {job[2] for job in started}
    assert len(removed) + len(started) == len(jobs)


def test_a_heavy_tenant_delays_a_light_one_by_one_start():
    """With a thousand jobs of one tenant queued, the other tenant's only job starts second."""
    queue = filled([("normal", "heavy", "x")] * 1000 + [("normal", "light", "x")])
    assert [queue.pop(always)[2] for _ in range(2)] == ["heavy", "light"]


@given(JOBS, st.data())
def test_a_requeued_job_keeps_its_place(jobs, data):
    """A job that was prepared, or whose dependency failed, must not lose its turn to later jobs."""
    queue = FairQueue(SHARE, never)
    places = {}
    for number, (lane, tenant, name) in enumerate(jobs):
        places[number] = queue.push(lane, tenant, name, (number, lane, tenant, name))
    taken = []
    for _ in range(data.draw(st.integers(0, 10))):
        lane = data.draw(LANES)
        if (job := queue.pop_ahead(lane, always)) is not None:
            taken.append(job)
    for job in data.draw(st.permutations(taken)):
        number, lane, tenant, name = job
        assert queue.push(lane, tenant, name, job, places[number]) == places[number]
    order = defaultdict(list)
    for number, lane, tenant, _ in drained(queue):
        order[lane, tenant].append(number)
    assert sorted(chain.from_iterable(order.values())) == list(range(len(jobs)))
    assert all(numbers == sorted(numbers) for numbers in order.values())


@given(JOBS, st.sets(st.integers(0, 59)))
def test_jobs_that_end_while_queued_are_skipped(jobs, ended):
    """A cancelled request among a hundred thousand must not need a scan of all of them."""
    queue = FairQueue(SHARE, lambda job, place: job[0] in ended)
    for number, (lane, tenant, name) in enumerate(jobs):
        queue.push(lane, tenant, name, (number, lane, tenant, name))
    for number, (lane, *_) in enumerate(jobs):
        if number in ended:
            queue.dropped(lane)
    assert len(queue) == len(set(range(len(jobs))) - ended)
    assert sorted(number for number, *_ in drained(queue)) == sorted(set(range(len(jobs))) - ended)
    assert len(queue) == 0


def test_a_requeued_job_keeps_its_order_among_requeued_jobs():
    """It goes behind one that was queued earlier and before one that was queued later."""
    queue = filled([("normal", "t", "x")] * 5)
    places = {number: number + 1 for number in range(5)}
    taken = [queue.pop_ahead("normal", always) for _ in range(3)]
    for job in (taken[0], taken[2], taken[1]):
        queue.push("normal", "t", "x", job, places[job[0]])
    assert [number for number, *_ in drained(queue)] == [0, 1, 2, 3, 4]


@given(JOBS, st.sets(st.integers(0, 59)))
def test_tenants_without_jobs_use_no_memory(jobs, ended):
    """Tenant and queue names come from requests: a worker sees millions of them."""
    queue = FairQueue(SHARE, lambda job, place: job[0] in ended)
    for number, (lane, tenant, name) in enumerate(jobs):
        queue.push(lane, tenant, name, (number, lane, tenant, name))
        if number in ended:
            queue.dropped(lane)
    queue.push("high", "last", "x", (-1, "high", "last", "x"))
    queue.push("normal", "last", "x", (-2, "normal", "last", "x"))
    drained(queue)
    assert queue._lanes == {"high": {}, "normal": {}}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_no_lane_may_take_all_starts(share):
    """The other lane would starve."""
    with pytest.raises(AssertionError):
        FairQueue(share, never)


def test_starts_of_a_tenant_with_very_many_queues_take_bounded_time():
    """A separate policy for each request must not make each start scan all queues."""
    queue, asked = FairQueue(SHARE, never), []
    for number in range(1000):
        queue.push("normal", "t", f"policy {number}", number)
    assert queue.pop(lambda job: asked.append(job) or False) is None
    assert len(asked) <= QUEUES_MAX + 1
    assert drained(queue) == list(range(1000))
