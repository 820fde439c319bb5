"""Counters of records: a record that a partition folds again is counted once."""

from __future__ import annotations

import asyncio

import pytest

from agents.app import DIA_GROUP
from tests.unit.engine.runtime.running_world import HERE, counted, history, send, until

COUNTERS = ("dia_records_read_total", "dia_records_applied_total", "dia_duplicates_total")


def counters(process):
    """Values of `COUNTERS` for the partition, 0.0 where a counter has no sample."""
    labels = {"topic": HERE.topic, "partition": str(HERE.partition)}
    registry = process.worker.groups[0]._metrics.registry
    return [registry.get_sample_value(name, labels) or 0.0 for name in COUNTERS]


@pytest.mark.parametrize("applied", [True, False], ids=["applied", "aborted"])
def test_a_commit_in_doubt_counts_its_records_once(applied):
    """`dia bench` and the alerts on shares of bad records read these counters. Under load a commit
    passes its deadline: its records were counted again when they were folded again.
    """

    async def story(world, process):
        await send(world, HERE, 5)
        await until(lambda: counted(world, HERE) == 5)
        world.broker.faults.doubt_commit(applied=applied)
        await send(world, HERE, 7)
        await until(lambda: counted(world, HERE) == 12)
        await asyncio.sleep(5.0)
        assert world.broker.committed(DIA_GROUP, HERE).offset >= 12
        assert counters(process) == [12.0, 12.0, 0.0]

    history(story)
