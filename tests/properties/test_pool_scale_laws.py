"""Laws of a pool whose size follows what waits: no job is lost, doubled or passed by a later one."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.dev.simulation.loop import VirtualLoop, run
from streams.engine.pool.places import JobPlaces
from streams.engine.pool.pool_scale import (
    DOWN_AFTER_S,
    DOWN_BELOW,
    UP_ABOVE,
    UP_EVERY_S,
    PoolScale,
)
from tests.depth import cases

_STEP = st.one_of(
    st.tuples(st.just("job"), st.floats(0.01, 5)),
    st.tuples(st.just("size"), st.integers(1, 8)),
    st.tuples(st.just("cancel"), st.integers(0, 40)),
    st.tuples(st.just("pass"), st.floats(0.01, 3)),
)


_AT_ONCE = [("job", 1.0), ("pass", 0.01), ("job", 1.0), ("pass", 0.01), ("job", 1.0), ("size", 3)]
"""A job arrives in the turn of the event loop in which the one before it gets its place."""


@settings(max_examples=cases(150), deadline=None)
@given(st.integers(1, 8), st.lists(_STEP, max_size=60))
@example(1, _AT_ONCE)
def test_jobs_start_in_order_and_end_once_whatever_the_size_does(size, steps):
    """A change of size, or a cancelled job, must neither lose a place nor give one twice."""
    loop = VirtualLoop()
    places, started, ended, cancelled = JobPlaces(size), [], [], []

    async def job(number, takes_s):
        async with places:
            assert places.used <= 8
            started.append(number)
            await _sleep(takes_s)
            ended.append(number)

    async def _sleep(seconds):
        gate = loop.create_future()
        loop.call_later(seconds, lambda: gate.done() or gate.set_result(None))
        await gate

    async def main():
        jobs = []
        for word, value in steps:
            if word == "job":
                jobs.append(loop.create_task(job(len(jobs), value)))
            elif word == "size":
                places.resize(value)
            elif word == "cancel" and value < len(jobs) and not jobs[value].done():
                jobs[value].cancel()
                cancelled.append(value)
            else:
                await _sleep(value if word == "pass" else 0.001)
        # each ends by itself: a lost place would leave jobs waiting for ever
        for one in jobs:
            while not one.done():
                await _sleep(0.5)

    run(loop, main())
    jobs = sum(word == "job" for word, _ in steps)
    assert started == sorted(set(started))
    assert set(ended) == set(range(jobs)) - set(cancelled)
    assert len(ended) == len(set(ended))
    assert places.used == 0


@settings(max_examples=cases(150), deadline=None)
@given(
    st.integers(1, 4),
    st.integers(0, 4),
    st.lists(st.tuples(st.floats(0, 90), st.integers(0, 3000)), max_size=60),
)
def test_the_size_is_bounded_and_changes_one_by_one_at_a_bounded_rate(least, more, looks):
    """A scale that flaps would pay a second of a processor for each process that it starts."""
    scale, now_s = PoolScale(least, least + more), 0.0
    up_s, down_s, few_since_s = -UP_EVERY_S, 0.0, None
    for wait_s, waiting in looks:
        now_s += wait_s
        few_since_s = (
            None if waiting >= DOWN_BELOW else now_s if few_since_s is None else few_since_s
        )
        before = scale.size
        changed = scale.step(waiting, now_s)
        assert least <= scale.size <= least + more
        assert changed == (scale.size != before)
        if scale.size > before:
            assert scale.size == before + 1
            assert waiting > UP_ABOVE
            assert now_s - up_s >= UP_EVERY_S
            up_s = now_s
        elif scale.size < before:
            assert scale.size == before - 1
            assert now_s - max(few_since_s, down_s) >= DOWN_AFTER_S
            down_s = now_s


def test_a_long_queue_reaches_the_most_and_an_empty_one_the_least():
    """Else the bounds of the setting would be decoration."""
    scale, sizes = PoolScale(2, 8), []
    for second in range(600):
        scale.step(2000 if second < 60 else 0, float(second))
        sizes.append(scale.size)
    assert (max(sizes), sizes[59], sizes[-1]) == (8, 8, 2)
