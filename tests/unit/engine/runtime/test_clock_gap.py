"""The offset between worker and broker clocks: measured by append times, and reported."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.clock import VirtualClock
from streams.core.types import RecordBatch, TopicPartition, Watermarks
from streams.engine.health.live_workers import LiveWorker
from streams.engine.health.observation import Observation
from streams.engine.health.rule import judge
from streams.engine.runtime.partition.clock_gap import ClockGap
from tests.unit.engine.runtime.running_world import HERE, counted, held, history, send, until

PLACE = TopicPartition("t", 0)
moments = st.integers(0, 1_900)


@given(gap_ms=st.integers(-(10**8), 10**8), waits=st.lists(moments, min_size=1, max_size=5))
async def test_the_measured_offset_is_at_most_the_true_one(gap_ms, waits):
    """Whatever the duration of a fetch, the measure has the sign of the true offset and is not
    larger.
    """
    clock = VirtualClock()
    gap = ClockGap(clock)
    gap.observe(0, Watermarks(0, 0, clock.monotonic()))
    appended = []
    for wait_ms in waits:
        await clock.advance(wait_ms / 1000 / len(waits))
        appended.append(clock.now_ms() - gap_ms)
    await clock.advance(0.5)
    count = len(appended)
    nothing = [None] * count
    batch = RecordBatch(PLACE, 0, count, [*range(count)], appended, nothing, nothing, [()] * count)
    gap.arrived(batch)
    assert gap.ahead_s is not None
    assert gap.ahead_s * gap_ms >= 0
    assert abs(gap.ahead_s) * 1000 <= abs(gap_ms) + 1
    assert abs(gap.ahead_s) * 1000 >= abs(gap_ms) - sum(waits) - 501


async def test_old_records_of_a_backlog_do_not_count_as_an_offset():
    """Old append times say nothing about the worker's clock."""
    clock = VirtualClock()
    gap = ClockGap(clock)
    old = clock.now_ms() - 3_600_000
    gap.arrived(RecordBatch(PLACE, 0, 1, [0], [old], [None], [None], [()]))
    assert gap.ahead_s is None


@pytest.mark.parametrize("ahead_s", [-40.0, 0.0, 40.0])
def test_a_worker_measures_its_clock_against_the_brokers(ahead_s):
    """Otherwise wrong ages and early rows have no visible cause."""

    async def story(world, process):
        world.clock.jump_wall(int(ahead_s * 1000))
        await asyncio.sleep(5.0)
        await send(world, HERE, 3)
        await until(lambda: counted(world, HERE) == 3)
        await asyncio.sleep(5.0)
        assert held(process, HERE).clock_ahead_s == pytest.approx(ahead_s, abs=2.0)
        metrics = process.worker.groups[0]._metrics
        labels = {"topic": HERE.topic, "partition": "0"}
        shown = metrics.registry.get_sample_value("dia_clock_ahead_seconds", labels)
        assert shown == held(process, HERE).clock_ahead_s

    history(story)


@pytest.mark.parametrize(
    ("ahead_s", "said"), [(5.1, "5 s or more ahead"), (-60.0, "60 s or more behind"), (4.9, "")]
)
def test_clocks_apart_are_a_finding(ahead_s, said):
    """`dia status` and `dia doctor` name the worker."""
    partitions = [
        {"group": "g", "topic": "t", "partition": 0, "clock_ahead_s": ahead_s},
        {"group": "g", "topic": "t", "partition": 1, "clock_ahead_s": None},
    ]
    worker = LiveWorker(pid=1, slot=0, partitions=partitions)
    findings = judge(Observation(at_ms=0, sources=(), workers=(worker,))).findings
    assert [said in one.detail for one in findings if one.code == "clocks_apart"] == [True] * bool(
        said
    )
