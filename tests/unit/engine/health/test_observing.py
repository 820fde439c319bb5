"""Observation of a broker, and the verdict shown to users."""

from __future__ import annotations

import asyncio
import json
import os
import time

import pytest

from agents.app import app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.memory.cluster import Cluster
from streams.connect.broker.memory.reader import MemoryReader
from streams.core.clock import SystemClock
from streams.core.errors import BrokerUnavailable
from streams.core.process.process import ProcessIdentity
from streams.core.topics.topology import DeclaredSource
from streams.core.types import CommittedOffset, TopicConfig, TopicPartition
from streams.engine.health.finding import Severity
from streams.engine.health.live_workers import LiveWorker, live_workers, member_prefix
from streams.engine.health.observing import observe
from streams.engine.health.rule import judge
from streams.engine.runtime.identity import instance_id, member_id

TOPIC, GROUP = "model.metrics", "dia-group"
SOURCES = (DeclaredSource(GROUP, TOPIC),)


class _Listener:
    def __init__(self, consumer) -> None:
        self._consumer = consumer

    async def on_revoked(self, partitions) -> None:
        """Keeps no state."""

    async def on_assigned(self, partitions) -> None:
        for tp in partitions:
            self._consumer.seek(tp, 0)


@pytest.fixture
async def broker() -> MemoryBroker:
    made = MemoryBroker(SystemClock())
    await (await made.admin()).create_topics([TopicConfig(TOPIC, 2, 1, {})])
    return made


async def _health(broker, workers=(), sources=SOURCES, **options):
    return judge(await observe(broker, sources, workers, SystemClock(), **options))


async def _produce(broker, count):
    producer = broker.plain_producer()
    await producer.start()
    keys = [b"%d" % n for n in range(count)]
    await (await producer.send_many(TOPIC, keys, [b"v"] * count))
    await producer.close()


async def _commit(broker, offset, partition=0):
    producer = broker.transactional_producer("t")
    await producer.start()
    await producer.begin()
    await producer.send_offsets(
        {TopicPartition(TOPIC, partition): CommittedOffset(offset, "")}, GROUP
    )
    await producer.commit()
    await producer.close()


def _codes(health):
    return {(one.code, one.severity, one.subject) for one in health.findings}


async def test_records_that_no_worker_reads_are_red_and_counted(broker):
    """20,000 unread records without a worker must not be "lag 0, healthy"."""
    await _produce(broker, 20_000)
    health = await _health(broker)
    assert health.verdict is Severity.RED
    assert health.lag_records == 20_000
    assert _codes(health) == {("group_dead", Severity.RED, TOPIC)}
    assert "20,000 unread records in partitions 0, 1" in health.findings[0].detail
    assert health.findings[0].mend == "dia worker"
    assert health.degradation is None


def test_every_agent_is_observed():
    """An agent that is not observed would always be green."""
    assert {(agent.group, agent.source.name) for agent in app.agents.values()} == set(
        app.topology.read
    )


async def test_an_empty_pipeline_without_workers_is_a_warning(broker):
    """Nothing is lost yet, but no worker would read new records."""
    health = await _health(broker)
    assert (health.verdict, health.lag_records) == (Severity.WARNING, 0)


async def test_a_group_that_reads_everything_is_healthy(broker):
    """Each partition needs an owner and a worker that reports it: otherwise progress is unproven,
    since the worker may have stopped the partition.
    """
    await _produce(broker, 10)
    consumer = broker.consumer(GROUP, [TOPIC], "one")
    await consumer.start(_Listener(consumer))
    health = await _health(broker)
    assert _codes(health) == {("progress_unproven", Severity.WARNING, TOPIC)}
    held = [{"group": GROUP, "topic": TOPIC, "partition": number} for number in range(2)]
    health = await _health(broker, workers=[LiveWorker(pid=1, slot=0, partitions=held)])
    assert (health.verdict, health.lag_records) == (Severity.HEALTHY, 10)
    assert {row["owner"] for row in health.partitions} == {"one"}
    await consumer.stop()


async def test_a_living_group_that_leaves_a_topic_unread_is_red(broker):
    """Static membership with another set of agents leaves topics without an owner."""
    admin = await broker.admin()
    await admin.create_topics([TopicConfig("train.results", 1, 1, {})])
    await _produce(broker, 10)
    consumer = broker.consumer(GROUP, ["train.results"], "one")
    await consumer.start(_Listener(consumer))
    sources = (*SOURCES, DeclaredSource(GROUP, "train.results"))
    health = await _health(broker, sources=sources)
    assert health.verdict is Severity.RED
    assert _codes(health) == {("partition_unowned", Severity.RED, TOPIC)}
    await consumer.stop()


async def test_lag_counts_from_the_committed_offset(broker):
    """The worker's own report does not count."""
    await _produce(broker, 100)
    reader = await broker.reader()
    end = await reader.last_stable_offset(TopicPartition(TOPIC, 0))
    await _commit(broker, end - 3)
    rows = {row["partition"]: row["lag"] for row in (await _health(broker)).partitions}
    assert rows == {0: 3, 1: 100 - end}


async def test_records_that_expired_unread_are_red(broker):
    """The group has lost them, and lag does not count them."""
    await _produce(broker, 100)
    await _commit(broker, 1)
    admin = await broker.admin()
    await admin.delete_records({TopicPartition(TOPIC, 0): 5})
    found = [one for one in (await _health(broker)).findings if one.code == "source_truncated"]
    assert [one.severity for one in found] == [Severity.RED]
    assert "offsets 1 to 4 of partition 0" in found[0].detail


async def test_records_that_expired_before_the_first_commit_are_no_lag_of_0(broker):
    """After a week offline the broker forgets the group's offsets and retention removes the
    records, so a lag cannot be counted. If the partition has an owner, the group may be new: a
    warning.
    """
    await _produce(broker, 100)
    reader, admin = await broker.reader(), await broker.admin()
    places = [TopicPartition(TOPIC, number) for number in range(2)]
    bounds = await reader.bounds(places)
    await admin.delete_records({tp: log.stable_end for tp, log in bounds.items()})
    health = await _health(broker)
    assert ("expired_unread", Severity.RED, TOPIC) in _codes(health)
    end = bounds[places[0]].stable_end
    assert f"in partitions 0, 1, and records expired unread: all below offset {end}" in str(
        [one.detail for one in health.findings]
    )
    consumer = broker.consumer(GROUP, [TOPIC], "one")
    await consumer.start(_Listener(consumer))
    assert _codes(await _health(broker)) == {("expired_unread", Severity.WARNING, TOPIC)}
    await _commit(broker, end)
    await _commit(broker, bounds[places[1]].stable_end, partition=1)
    assert (await _health(broker)).verdict is Severity.HEALTHY
    await consumer.stop()


async def test_hundreds_of_partitions_are_observed_in_few_requests(broker, monkeypatch):
    """On a distant cluster one request takes 0.1 s, and the deadline is 5 s."""
    admin = await broker.admin()
    names = [f"topic-{number}" for number in range(3)]
    await admin.create_topics([TopicConfig(name, 400, 1, {}) for name in names])
    asked = []
    call = Cluster.call

    async def counted(cluster, kind):
        asked.append(kind)
        await call(cluster, kind)

    monkeypatch.setattr(Cluster, "call", counted)
    health = await _health(broker, sources=[DeclaredSource("g", name) for name in names])
    assert len(health.partitions) == 1200
    assert len(asked) <= 15


async def test_a_slow_source_leaves_the_others_known(broker, monkeypatch):
    """The leader of one source may be away. All sources share one deadline, and the slow one may
    come first.
    """
    await (await broker.admin()).create_topics([TopicConfig("slow", 1, 1, {})])
    ask = MemoryReader.bounds

    async def bounds(reader, partitions):
        asked = list(partitions)
        if asked[0].topic == "slow":
            await asyncio.Event().wait()
        return await ask(reader, asked)

    monkeypatch.setattr(MemoryReader, "bounds", bounds)
    sources = (DeclaredSource("g", "slow"), *SOURCES)
    health = await _health(broker, sources=sources, timeout_s=3.0)
    assert ("lag_unknown", Severity.UNKNOWN, "slow") in _codes(health)
    assert {row["topic"]: row["lag"] for row in health.partitions} == {TOPIC: 0}


async def test_a_commit_past_the_end_is_red(broker):
    """The topic was recreated under its group: new records would be skipped."""
    await _commit(broker, 50)
    assert ("committed_past_end", Severity.RED, TOPIC) in _codes(await _health(broker))


async def test_a_topic_that_is_absent_is_red_once_a_group_reads(broker):
    """The topic was deleted under its workers; before the first worker it is merely not created
    yet.
    """
    absent = (DeclaredSource(GROUP, "absent"),)
    health = await _health(broker, sources=absent)
    assert _codes(health) == {("topic_absent", Severity.WARNING, "absent")}
    consumer = broker.consumer(GROUP, [TOPIC], "one")
    await consumer.start(_Listener(consumer))
    health = await _health(broker, sources=absent)
    assert _codes(health) == {("topic_absent", Severity.RED, "absent")}
    await consumer.stop()


async def test_a_topic_that_is_absent_beside_others_is_red_without_members(broker):
    """Workers that start after the deletion wait for the topic and join no group."""
    absent = DeclaredSource("another-group", "absent")
    health = await _health(broker, sources=(*SOURCES, absent))
    assert ("topic_absent", Severity.RED, "absent") in _codes(health)


async def test_a_broker_that_refuses_is_unknown(broker):
    """The state is neither zero nor healthy, and gives the reason."""

    class Away:
        async def admin(self):
            raise BrokerUnavailable("connect at broker:9092: no answer")

    health = await _health(Away())
    assert (health.verdict, health.lag_records) == (Severity.UNKNOWN, None)
    assert "connect at broker:9092" in health.findings[0].fields()["detail"]
    assert "broker:9092" not in health.findings[0].public_fields()["detail"]


async def test_a_broker_that_hangs_is_unknown_at_the_deadline(broker):
    """A status command answers within its deadline."""

    class Hanging:
        async def admin(self):
            await asyncio.Event().wait()

    health = await _health(Hanging(), timeout_s=0.01)
    assert (health.verdict, health.lag_records) == (Severity.UNKNOWN, None)
    assert "did not answer" in health.findings[0].reason


async def test_a_group_that_cannot_be_described_leaves_the_others_known(broker, monkeypatch):
    """One refused group must neither hide the lag of the others nor count as empty."""
    admin = await broker.admin()
    await admin.create_topics([TopicConfig("train.results", 1, 1, {})])
    ask = type(admin).describe_group

    async def refused(self, group):
        if group == "secret":
            raise BrokerUnavailable("describe group secret: GroupAuthorizationFailedError")
        return await ask(self, group)

    monkeypatch.setattr(type(admin), "describe_group", refused)
    await _produce(broker, 7)
    sources = (DeclaredSource("secret", "train.results"), *SOURCES)
    health = await _health(broker, sources=sources)
    assert health.lag_records is None
    assert ("lag_unknown", Severity.UNKNOWN, "train.results") in _codes(health)
    assert sum(row["lag"] for row in health.partitions if row["topic"] == TOPIC) == 7


async def test_stopped_partitions_and_degraded_workers_are_findings(broker):
    """The rule also judges the reports of workers."""
    held = {"group": GROUP, "topic": TOPIC, "partition": 1, "stopped_by": "changelog_gap"}
    worker = LiveWorker(pid=1, slot=0, partitions=[held])
    health = await _health(broker, [worker])
    assert ("partition_stopped", Severity.RED, f"{TOPIC}/1") in _codes(health)
    assert health.degradation is not None


async def test_a_partition_that_its_owner_cannot_open_is_a_finding_with_the_reason(broker):
    """The partition has an owner and makes no progress; the reason must not be in the worker's log
    only.
    """
    why = "unknown_topic: partition changelog/1 does not exist. Run `dia topics apply`."
    held = {"group": GROUP, "topic": TOPIC, "partition": 1, "stopped_by": None, "waits_for": why}
    ready = held | {"partition": 0, "waits_for": ""}
    worker = LiveWorker(pid=1, slot=0, partitions=[held, ready])
    found = [o for o in (await _health(broker, [worker])).findings if "ready" in o.code]
    assert [(one.code, one.severity, one.subject) for one in found] == [
        ("partition_not_ready", Severity.WARNING, f"{TOPIC}/1")
    ]
    assert why in found[0].detail


async def test_a_partition_that_waits_for_the_schema_registry_is_a_finding_with_the_reason(broker):
    """The finding directs the operator to the registry instead of a slow agent."""
    why = "schema_registry_unavailable: the schema registry does not answer"
    held = {"group": GROUP, "topic": TOPIC, "partition": 1, "phase": "ready", "waits_for": why}
    found = (await _health(broker, [LiveWorker(pid=1, slot=0, partitions=[held])])).findings
    [one] = [one for one in found if one.code == "partition_held"]
    assert (one.severity, one.subject) == (Severity.WARNING, f"{TOPIC}/1")
    assert why in one.detail


@pytest.mark.parametrize("age_s", [5, 100, -100])
async def test_an_old_report_of_a_worker_does_not_count_as_healthy(
    broker, tmp_path, monkeypatch, age_s
):
    """A worker with a full disk or a hanging process writes no report. Its last one must expire,
    also if the clock was set back since.
    """
    await _produce(broker, 10)
    consumer = broker.consumer(GROUP, [TOPIC], "member")
    await consumer.start(_Listener(consumer))
    held = [{"group": GROUP, "topic": TOPIC, "partition": number} for number in range(2)]
    told = {"pid": os.getpid(), "slot": 0, "partitions": held, "settled": True}
    report = tmp_path / "workers" / "0.json"
    report.parent.mkdir()
    report.write_text(json.dumps(told))
    os.utime(report, (time.time() - age_s,) * 2)
    monkeypatch.setattr(ProcessIdentity, "age_s", lambda self: 1000.0)
    health = await _health(broker, live_workers(tmp_path))
    silent = {("worker_silent", Severity.UNKNOWN, "worker 0")} if abs(age_s) == 100 else set()
    assert _codes(health) == silent
    await consumer.stop()


async def test_a_worker_of_this_host_that_ended_is_no_healthy_owner(broker, tmp_path):
    """A static member holds its partitions for the session timeout after its process has ended."""
    await _produce(broker, 10)
    name = instance_id(tmp_path, 0)
    consumer = broker.consumer(GROUP, [TOPIC], member_id(name, [TOPIC]))
    await consumer.start(_Listener(consumer))
    members = member_prefix(tmp_path)
    held = [{"group": GROUP, "topic": TOPIC, "partition": number} for number in range(2)]
    running = [LiveWorker(pid=1, slot=0, partitions=held)]
    assert (await _health(broker, running, local_members=members)).verdict is Severity.HEALTHY
    await consumer.stop()
    gone = {
        ("owner_gone", Severity.WARNING, TOPIC),
        ("progress_unproven", Severity.WARNING, TOPIC),
    }
    health = await _health(broker, [], local_members=members)
    assert _codes(health) == gone
    other = await _health(broker, [LiveWorker(pid=1, slot=1)], local_members=members)
    assert _codes(other) == gone
