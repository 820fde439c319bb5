"""The load of a partition becomes rows of ClickHouse in the commits that count it."""

from __future__ import annotations

from dataclasses import replace

from streams.core.process.process_usage import ProcessUsage, Usage, usage_of_this_process
from streams.engine.runtime.effects import effects
from streams.engine.state.load_run import SLOT_MS

SLOT_S = SLOT_MS / 1000


def _rows(rig, table):
    """Rows in the outbox of the committed state."""
    found = []
    for one in rig.partition.outbox.take_fresh():
        if effects.target_of(one.key).name == table:
            found += effects.rows_in(one.key, one.value)
    return found


async def _next_interval(rig):
    await rig.clock.advance(SLOT_S)


async def test_an_interval_is_a_row_once_a_later_record_ends_it(rig):
    """The row and the records it counts are one transaction, so it cannot count them twice."""
    await rig.open()
    await rig.commit_events(3)
    assert _rows(rig, "load_history") == []
    await _next_interval(rig)
    await rig.commit_events(2)
    await rig.open()
    [row] = _rows(rig, "load_history")
    assert (row["tenant"], row["events"], row["from_offset"], row["to_offset"]) == ("t", 3, 0, 3)
    assert row["agent"] == "aggregate_metrics"
    assert row["w"] % SLOT_MS == 0
    assert row["bytes"] > 300


async def test_a_crash_in_the_interval_neither_loses_nor_doubles(rig):
    """Records that were folded and not committed are folded again by the next owner."""
    await rig.open()
    await rig.commit_events(3)
    await rig.produce_events(4)
    await rig.fold()
    await rig.open()
    assert rig.partition.history.intake.run.events == 3
    await rig.fold()
    await rig.commit()
    await _next_interval(rig)
    await rig.commit_events(1)
    await rig.open()
    assert [row["events"] for row in _rows(rig, "load_history")] == [7]


async def test_a_partition_that_falls_silent_shows_its_last_interval(rig):
    """Else the load before a silence would appear hours later."""
    await rig.open()
    await rig.commit_events(3)
    assert not rig.partition.has_changes()
    await rig.clock.advance(2 * SLOT_S)
    assert rig.partition.has_changes()
    await rig.commit()
    assert not rig.partition.has_changes()
    await rig.open()
    assert [row["events"] for row in _rows(rig, "load_history")] == [3]


async def test_a_late_record_of_a_shown_interval_replaces_its_row(rig):
    """The broker's clock may be behind: the row has the same key, all records and a later version."""
    await rig.open()
    await rig.commit_events(3)
    run = rig.partition.history.intake.run
    [shown] = rig.partition.history.intake.take_shown(3, run.end_ms + SLOT_MS)
    await rig.commit_events(1)
    [again] = rig.partition.history.intake.take_shown(4, run.end_ms + SLOT_MS)
    assert (shown.run.events, again.run.events) == (3, 4)
    assert shown.run.from_offset == again.run.from_offset


async def test_each_interval_has_one_sample_of_the_process(rig):
    """Costs per event are differences of its processor time."""
    opener = rig.opener()
    used = iter([Usage(1.5, 1000), Usage(4.0, 2000)])
    rig.opener = lambda disk=None: replace(
        opener, process=ProcessUsage("w-0", 7, lambda: next(used))
    )
    await rig.open()
    await rig.commit_events(3)
    for _ in range(2):
        await _next_interval(rig)
        await rig.commit_events(1)
        await rig.commit_events(1)
    await rig.open()
    rows = _rows(rig, "usage_history")
    assert [(row["cpu_s"], row["memory_bytes"]) for row in rows] == [(1.5, 1000), (4.0, 2000)]
    assert {(row["process"], row["started"]) for row in rows} == {("w-0", 7)}
    assert len({row["w"] for row in rows}) == 2


async def test_a_clock_that_was_ahead_once_does_not_hold_back_the_samples(rig):
    """The costs of a day would be unknown for each day that the clock was ahead."""
    await rig.open()
    await rig.commit_events(1)
    rig.clock.jump_wall(100 * SLOT_MS)
    await rig.commit_events(1)
    rig.clock.jump_wall(-100 * SLOT_MS)
    for _ in range(2):
        await _next_interval(rig)
        await rig.commit_events(1)
    await rig.open()
    slots = [row["w"] // SLOT_MS for row in _rows(rig, "usage_history")]
    now = rig.clock.now_ms() // SLOT_MS
    assert slots == [now + 98, now - 1, now]


async def test_a_usage_that_cannot_be_read_costs_its_sample_alone(rig):
    """A worker without a free file descriptor stopped each of its partitions within five minutes."""

    answers = iter([OSError(24, "Too many open files"), Usage(4.0, 2000)])

    def read():
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    opener = rig.opener()
    rig.opener = lambda disk=None: replace(opener, process=ProcessUsage("w-0", 7, read))
    await rig.open()
    await rig.commit_events(3)
    for _ in range(2):
        await _next_interval(rig)
        await rig.commit_events(1)
    await rig.open()
    assert rig.partition.progress.applied == 5
    assert [row["cpu_s"] for row in _rows(rig, "usage_history")] == [4.0]


async def test_without_the_setting_nothing_is_kept(rig):
    """An operator may not want the rows."""
    rig.settings = replace(rig.settings, load_history=0)
    await rig.open()
    await rig.commit_events(3)
    await _next_interval(rig)
    await rig.commit_events(3)
    await rig.open()
    assert rig.partition.history.intake.run.events == 0
    assert _rows(rig, "load_history") + _rows(rig, "usage_history") == []


def test_usage_is_read_from_the_process():
    """An unreadable figure would end a commit."""
    used = usage_of_this_process()
    assert used.cpu_s > 0
    assert used.memory_bytes > 1 << 20
