"""A member of a group before it joins, and what it says of itself."""

from __future__ import annotations

import asyncio
import json

import pytest

from agents import AGGREGATE_METRICS
from streams.clock import settle
from streams.errors import SourceNotLogAppendTime
from streams.runtime.deadline import Deadline
from streams.runtime.status_file import StatusFile
from streams.runtime.worker import Worker
from streams.topology import MODEL_METRICS


def _worker(rig) -> Worker:
    return Worker(
        agents=(AGGREGATE_METRICS,),
        broker=rig.broker,
        shards=rig.shards,
        stores=lambda group: rig.disk,
        clock=rig.clock,
        settings=rig.settings,
        metrics=rig.metrics,
        instance_id="host-0",
    )


async def test_a_source_with_producers_timestamps_is_refused(rig):
    """TTLs and ages are counted in append time: a producer's clock must not move them."""
    admin = await rig.broker.admin()
    await admin.alter_config(MODEL_METRICS.name, {"message.timestamp.type": "CreateTime"})
    with pytest.raises(SourceNotLogAppendTime, match="dia topics plan"):
        await _worker(rig).groups[0].start()


async def test_a_missing_topic_is_waited_for(rig):
    """`dia topics apply` may come after the worker; nothing is created behind its back."""
    admin = await rig.broker.admin()
    config = (await admin.describe_topics())[MODEL_METRICS.dlq]
    await admin.delete_topics([MODEL_METRICS.dlq])
    worker = _worker(rig)
    joining = asyncio.ensure_future(worker.groups[0].start())
    await settle()
    await rig.clock.advance(30)
    assert not joining.done()
    await admin.create_topics([config])
    await rig.clock.advance(5)
    await joining
    await worker.abandon()


@pytest.fixture
async def running(rig):
    """A worker that has read three events, and time to commit them."""
    await rig.produce_events(3)
    worker = _worker(rig)
    task = asyncio.ensure_future(worker.run(lambda: None))
    await settle()
    yield worker
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await worker.abandon()


async def test_its_status_file_says_how_it_stands_until_it_ends(rig, running, tmp_path):
    """`dia status` and the demo read it: never half of it, never an old one."""
    file = StatusFile(tmp_path, 4, 8123)
    file.write(running)
    path = tmp_path / "workers" / "4.json"
    assert json.loads(path.read_bytes())["settled"] is False
    await rig.clock.advance(20)
    file.write(running)
    said = json.loads(path.read_bytes())
    assert (said["slot"], said["http_port"], said["ready"]) == (4, 8123, True)
    (partition,) = said["partitions"]
    assert (partition["phase"], partition["lag"], partition["stopped_by"]) == ("ready", 0, None)
    assert [each.name for each in path.parent.iterdir()] == ["4.json"]
    file.remove()
    file.remove()
    assert not path.exists()


async def test_it_settles_once_everything_is_acknowledged(rig, running):
    """Lag 0, an empty outbox and no live window: what `settled` promises to outsiders."""
    await rig.clock.advance(20)
    assert not running.settled, "its window is open"
    await rig.clock.advance(200)
    assert running.settled
    assert [row["n"] for row in rig.shards.m1_rows()] == [3]


async def test_a_drain_commits_what_is_folded(rig, running):
    """The next owner folds nothing of it again."""
    await rig.clock.advance(5)
    await rig.produce_events(4)
    await rig.clock.advance(0.3)
    drain = asyncio.ensure_future(running.drain(Deadline(rig.clock, 20.0)))
    await settle()
    await rig.clock.advance(5)
    await drain
    committed = rig.broker.committed("dia-group", rig.opened_source)
    assert committed.offset == 7
