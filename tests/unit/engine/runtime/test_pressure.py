"""When a partition pauses its intake, and when it resumes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams.engine.runtime.partition.pressure import Pressure


@pytest.fixture
async def partition(rig):
    rig.settings = replace(
        rig.settings, max_live_windows=10, commit_max_records=100, max_unacked_bytes=1000
    )
    return await rig.open()


async def _live(rig, count):
    for number in range(count):
        await rig.produce_events(1, model_id=f"m{number}")
    await rig.fold()


async def test_it_pauses_at_eighty_percent_and_resumes_below_fifty(rig, partition):
    """With one threshold a partition at the edge would pause and resume with every batch."""
    pressure = Pressure()
    await _live(rig, 7)
    assert (pressure.update(partition), pressure.paused) == (False, False)
    await rig.produce_events(1, model_id="m7")
    await rig.fold()
    assert (pressure.update(partition), pressure.paused) == (True, True)
    rig.settings = None
    for bound, paused in ((16, True), (17, False)):
        settings = replace(partition.state.context.settings, max_live_windows=bound)
        partition.state.context = replace(partition.state.context, settings=settings)
        pressure.update(partition)
        assert pressure.paused == paused


async def test_a_held_intake_pauses_whatever_room_there_is(rig, partition):
    """At level 3 the results of more records could not be stored. No window closes early for it,
    and after it only a full buffer keeps the partition paused.
    """
    pressure = Pressure()
    await _live(rig, 7)
    assert (pressure.update(partition, held=True), pressure.paused) == (True, True)
    assert (pressure.update(partition, held=False), pressure.paused) == (True, False)
    await rig.produce_events(1, model_id="m7")
    await rig.fold()
    pressure.update(partition, held=True)
    assert (pressure.update(partition, held=False), pressure.paused) == (False, True)


async def test_the_fullest_bound_decides(rig, partition):
    """Windows, bytes of the outbox and records ahead of a commit each take memory."""
    assert partition.fill == 0
    await _live(rig, 2)
    assert partition.fill == pytest.approx(0.2)
    partition.outbox.put(b"D", bytes(900))
    partition.outbox.delta(1)
    assert partition.fill == pytest.approx(0.9)
    await rig.produce(*[b"{"] * 398)
    await rig.fold()
    assert partition.fill == pytest.approx(1.0)


class Consumer:
    """Records pauses and resumes of each partition."""

    def __init__(self):
        self.told = []

    def pause(self, tp):
        self.told.append(("pause", tp))

    def resume(self, tp):
        self.told.append(("resume", tp))


def _open(partition):
    return sum(window.live for window in partition.windows._lookup if not window.closed)


async def test_a_full_partition_is_paused_once_and_closes_its_oldest_windows(rig, partition):
    """Event time does not advance during a pause, so the partition must close windows early or stay
    full. Half of the bound may stay open, so that late records still find their windows.
    """
    pressure, consumer = Pressure(), Consumer()
    for number in range(8):
        pressure.relieve(partition, consumer)
        assert (consumer.told, _open(partition)) == ([], number)
        ts = rig.clock.now_ms() + number // 2 * 60_000
        await rig.produce_events(1, model_id=f"m{number}", ts=ts)
        await rig.fold()
    pressure.relieve(partition, consumer)
    pressure.relieve(partition, consumer)
    assert consumer.told == [("pause", partition.tp)]
    assert _open(partition) == 4, "half of the windows stay open: two minutes with two models each"


async def test_a_held_partition_is_paused_and_resumes_without_closing_windows(rig, partition):
    """Its windows have room; their rows cannot be stored at the moment."""
    pressure, consumer = Pressure(), Consumer()
    await _live(rig, 7)
    pressure.relieve(partition, consumer, held=True)
    assert (consumer.told, _open(partition)) == ([("pause", partition.tp)], 7)
    pressure.relieve(partition, consumer)
    assert consumer.told == [("pause", partition.tp), ("resume", partition.tp)]
