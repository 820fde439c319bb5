"""A group member before it joins, and its status report."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from agents.app import AGGREGATE_METRICS, DIA_GROUP, MODEL_METRICS, RECORD_TRAINING, app
from streams.connect.broker.partitioner import partition_of
from streams.core.clock import settle
from streams.core.errors import SourceNotLogAppendTime
from streams.core.resilience.deadline import Deadline
from streams.core.types import TopicPartition, Watermarks
from streams.engine.agents.stream_agent import StreamAgent
from streams.engine.runtime.status_file import StatusFile
from streams.engine.runtime.worker import Worker
from streams.operate.topics.topics import apply, plan, wanted_topics


def _worker(rig, *agents) -> Worker:
    return Worker(
        agents=agents or (AGGREGATE_METRICS,),
        broker=rig.broker,
        shards=rig.shards,
        stores=lambda group: rig.disk,
        clock=rig.clock,
        settings=rig.settings,
        metrics=rig.metrics,
        instance_id="host-0",
    )


class _Idle:
    """A listener of a consumer without partitions."""

    async def on_assigned(self, partitions):
        pass

    async def on_revoked(self, partitions):
        pass


async def test_a_source_with_producers_timestamps_is_refused(rig):
    """TTLs and ages use append time, which a producer's clock must not change."""
    admin = await rig.broker.admin()
    await admin.alter_config(MODEL_METRICS.name, {"message.timestamp.type": "CreateTime"})
    with pytest.raises(SourceNotLogAppendTime, match="dia topics plan"):
        await _worker(rig).groups[0].start()


async def test_a_worker_waits_for_a_missing_topic(rig):
    """`dia topics apply` may run after the worker starts, and the worker creates no topic itself."""
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
    """A worker that has read and committed three events."""
    await rig.produce_events(3)
    worker = _worker(rig)
    task = asyncio.ensure_future(worker.run(lambda: None))
    await settle()
    yield worker
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await worker.abandon()


async def test_added_partitions_are_read_once_the_topics_are_applied(rig, running, tmp_path):
    """An operator adds partitions with Kafka's own tool. `dia topics apply` completes the change,
    without a restart or another tool.
    """
    source = TopicPartition(MODEL_METRICS.name, 1)
    admin = await rig.broker.admin()
    await admin.create_partitions({MODEL_METRICS.name: 2})
    await rig.clock.advance(20)
    said = json.loads(StatusFile(tmp_path, 0, 1).write(running))["partitions"]
    waiting = {held["partition"]: held["waits_for"] for held in said}
    assert _shown_waits(rig) == {"0": 0.0, "1": 1.0}, "the chart adds no replica for it"
    assert waiting[0] == ""
    assert "changelog/1 does not exist. Run `dia topics apply`" in waiting[1]
    declared = wanted_topics(replace(app.topology, topics=(replace(MODEL_METRICS, partitions=1),)))
    await apply(admin, plan(app.topology, declared, await admin.describe_topics()))
    producer = rig.broker.plain_producer()
    key = next(key for key in (b"t%d" % n for n in range(20)) if partition_of(key, 2) == 1)
    event = rig.event(tenant_id=key.decode())
    await (await producer.send(source.topic, key, event))
    await rig.clock.advance(20)
    assert rig.broker.committed("dia-group", source).offset == 1
    assert not any(held.waits_for for held in running.groups[0].partitions.values())
    assert _shown_waits(rig) == {"0": 0.0, "1": 0.0}


def _shown_waits(rig) -> dict[str, float]:
    [found] = rig.metrics.partition.waits.collect()
    return {one.labels["partition"]: one.value for one in found.samples}


CHANGELOG = MODEL_METRICS.changelog(DIA_GROUP)


@pytest.mark.parametrize("short", [(MODEL_METRICS.dlq,), (CHANGELOG, MODEL_METRICS.dlq)])
async def test_a_worker_that_starts_beside_a_larger_source_reads_what_it_can(rig, tmp_path, short):
    """Only the added partition waits, and says for what: a restart must not stop the others, nor may
    the added one take records whose dead letters have no place."""
    admin = await rig.broker.admin()
    topics = {MODEL_METRICS.name, CHANGELOG, MODEL_METRICS.dlq} - {*short}
    await rig.produce_events(3)
    await admin.create_partitions(dict.fromkeys(topics, 2))
    worker = _worker(rig)
    task = asyncio.ensure_future(worker.run(lambda: None))
    await settle()
    await rig.clock.advance(20)
    found = json.loads(StatusFile(tmp_path, 0, 1).write(worker))["partitions"]
    waits = {held["partition"]: held["waits_for"] for held in found}
    assert waits[0] == ""
    assert f"{short[0]}/1 does not exist. Run `dia topics apply`" in waits[1]
    source = TopicPartition(MODEL_METRICS.name, 0)
    assert rig.broker.committed(DIA_GROUP, source).offset == 3
    await admin.create_partitions(dict.fromkeys(short, 2))
    await rig.clock.advance(20)
    assert not any(held.waits_for for held in worker.groups[0].partitions.values())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await worker.abandon()


async def test_a_worker_with_other_agents_gets_their_topics_too(rig, running):
    """The slot of the host has a static member id. With other agents it needs another id, or the
    group would assign it the topics of the old agents only.
    """
    await rig.clock.advance(5)
    drain = asyncio.ensure_future(running.drain(Deadline(rig.clock, 20.0)))
    await settle()
    await rig.clock.advance(5)
    await drain
    for agents in ((AGGREGATE_METRICS, RECORD_TRAINING), (RECORD_TRAINING,)):
        worker = _worker(rig, *agents)
        task = asyncio.ensure_future(worker.run(lambda: None))
        await settle()
        await rig.clock.advance(rig.settings.session_timeout_s + 5)
        owned = {tp.topic for group in worker.groups for tp in group.partitions}
        assert owned == {agent.source.name for agent in agents}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await worker.abandon()


async def test_the_status_file_is_kept_until_the_worker_ends(rig, running, tmp_path):
    """`dia status` and the demo read the file: it is always whole and current."""
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


async def test_a_worker_is_settled_once_everything_is_acknowledged(rig, running):
    """`settled` promises lag 0, an empty outbox and no open window."""
    await rig.clock.advance(20)
    assert not running.settled, "its window is open"
    await rig.clock.advance(200)
    assert running.settled
    assert [row["n"] for row in rig.shards.m1_rows()] == [3]


async def test_a_revoked_partition_is_not_settled(rig, running):
    """During a rebalance the log grows while the last answer is still fresh."""
    await rig.clock.advance(220)
    assert running.settled
    absent = rig.broker.consumer(DIA_GROUP, [MODEL_METRICS.dlq], "host-1")
    await absent.start(_Idle())
    await rig.clock.advance(5)
    assert running.settled
    absent.mute()
    rig.broker.rebalance(DIA_GROUP)
    await settle()
    await rig.produce_events(1)
    (held,) = running.groups[0].partitions.values()
    assert held.read_all, "the lag comes from before the rebalance"
    assert not running.settled
    await rig.clock.advance(230)
    assert running.settled
    assert sum(row["n"] for row in rig.shards.m1_rows()) == 4
    await absent.stop()


async def test_a_drain_commits_folded_records(rig, running):
    """The next owner folds none of these records again."""
    await rig.clock.advance(5)
    await rig.produce_events(4)
    await rig.clock.advance(0.3)
    drain = asyncio.ensure_future(running.drain(Deadline(rig.clock, 20.0)))
    await settle()
    await rig.clock.advance(5)
    await drain
    committed = rig.broker.committed("dia-group", rig.opened_source)
    assert committed.offset == 7


@pytest.mark.parametrize(("leaves", "members"), [(1, 0), (0, 1)])
async def test_a_drain_leaves_the_group_if_the_process_does_not_return(rig, leaves, members):
    """The end of a process shall not leave its partitions unread, and a restart shall not move them."""
    rig.settings = replace(rig.settings, leave_group=leaves)
    worker = _worker(rig)
    task = asyncio.ensure_future(worker.run(lambda: None))
    await settle()
    await rig.clock.advance(5)
    drain = asyncio.ensure_future(worker.drain(Deadline(rig.clock, 20.0)))
    await settle()
    await rig.clock.advance(5)
    await drain
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    admin = await rig.broker.admin()
    assert len((await admin.describe_group(DIA_GROUP)).members) == members


async def test_a_partition_is_behind_by_the_time_since_its_records_were_appended(
    rig, running, tmp_path, monkeypatch
):
    """By times of events, producers that are late would have more and more processes and pods started."""

    def told():
        return json.loads(StatusFile(tmp_path, 0, 1).write(running))["partitions"][0]["behind_s"]

    def shown():
        labels = {"topic": rig.opened_source.topic, "partition": str(rig.opened_source.partition)}
        return rig.metrics.registry.get_sample_value("dia_append_lag_seconds", labels)

    await rig.produce_events(1, ts=rig.clock.now_ms() - 3_600_000)
    await rig.clock.advance(7)
    assert (told(), shown()) == (0.0, 0.0), "nothing waits"
    [group] = running.groups
    [held] = group.partitions.values()
    unread = Watermarks(held.partition.position + 1, held.partition.position + 1, 0.0)
    monkeypatch.setattr(group._consumer, "watermarks", lambda tp: unread)
    assert told() == 7.0
    await rig.clock.advance(1)
    assert 7.0 <= shown() <= told()


async def test_a_partition_is_behind_by_the_events_that_wait_for_their_agent(rig, tmp_path):
    """They are read ahead, by the ten thousand: a host and an autoscaler were told that nothing waits, where an agent
    awaits a slow service and more processes would help."""

    async def body(stream):
        async for _ in stream:
            await asyncio.Event().wait()

    agent = StreamAgent(
        name="slow", source=MODEL_METRICS, group=DIA_GROUP, body=body, declared=(), sinks=()
    )
    worker = _worker(rig, agent)
    task = asyncio.ensure_future(worker.run(lambda: None))
    await settle()
    await rig.clock.advance(5)
    await rig.produce_events(3)
    await rig.clock.advance(9)
    [held] = json.loads(StatusFile(tmp_path, 0, 1).write(worker))["partitions"]
    labels = {"topic": held["topic"], "partition": str(held["partition"])}
    shown = rig.metrics.registry.get_sample_value("dia_append_lag_seconds", labels)
    assert held["behind_s"] == 9.0
    assert 8.0 <= shown <= 9.0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await worker.abandon()
