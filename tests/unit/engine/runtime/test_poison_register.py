"""A poison storm, the operator's decision, and workers that follow it without a restart."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from agents.app import AGGREGATE_METRICS, DIA_GROUP, MODEL_METRICS, app
from streams.core.errors import BrokerUnavailable
from streams.core.types import TopicPartition
from streams.dev.simulation.history import SETTINGS
from streams.dev.simulation.loop import VirtualLoop, run
from streams.dev.simulation.world import World
from streams.operate.breaker.poison_admin import let_through, states
from streams.operate.shed.shed_admin import give_orders, plan

TOUCHY = replace(SETTINGS, poison_min_records=16, poison_window_s=3600.0)
SOURCE = TopicPartition(MODEL_METRICS.name, 0)
DLQ = TopicPartition(MODEL_METRICS.dlq, 0)
PATIENCE_S = 600.0


class Storm(World):
    """One partition, and the actions of the tests."""

    async def send(self, *, good: int = 0, bad: int = 0) -> None:
        producer = self.broker.plain_producer()
        for number in range(bad):
            # Several tenants: records of one alone cannot stop the partition.
            await (await producer.send(SOURCE.topic, b"t%d" % (number % 10), b"{%d" % number))
        for _ in range(good):
            event = {"tenant_id": "t", "model_id": "m", "metric": "x", "ts": self.clock.now_ms()}
            value = json.dumps({**event, "value": 1.0, "event_id": str(self.sent)}).encode()
            self.sent += 1
            await (await producer.send(SOURCE.topic, b"t", value))

    sent = 0

    async def until(self, done) -> None:
        deadline = self.clock.monotonic() + PATIENCE_S
        while not done():
            assert self.clock.monotonic() < deadline
            await asyncio.sleep(0.5)

    def dead(self) -> list[bytes]:
        return self.broker.log(DLQ).read_committed(0, 10**6).values

    def counted(self) -> int:
        return sum(row["n"] for shard in (0, 1) for row in self.shards.rows("m1", shard))

    async def reset_breaker(self) -> None:
        """Do what `dia dlq breaker reset --yes` does."""
        for state in await states(self.broker, app.topology):
            if state.stopped:
                await let_through(self.broker, self.clock, state, "ann")


def held(process):
    found = [p for group in process.worker.groups for p in group.partitions.values()]
    return next((p for p in found if p.tp == SOURCE), None)


def stopped(process) -> bool:
    return (one := held(process)) is not None and one.phase == "stopped"


def simulated(story) -> None:
    loop = VirtualLoop()
    world = Storm(loop, TOUCHY, [AGGREGATE_METRICS], partitions=1)

    async def told() -> None:
        await world.create_topics()
        await story(world)

    run(loop, told())


def test_a_storm_writes_no_dead_letters_and_its_offset_is_published():
    """An operator on another host must see the stopped partition, and the DLQ must not be flooded."""

    async def story(world):
        await world.send(good=10)
        process = world.process(0)
        process.start()
        await world.until(lambda: held(process) and held(process).settled)
        await world.send(bad=30)
        await world.until(lambda: stopped(process))
        [state] = await states(world.broker, app.topology)
        assert (state.group, state.tp, state.stopped) == (DIA_GROUP, SOURCE, True)
        assert 10 <= state.word.offset < 40
        assert 2 * state.word.bad > state.word.records >= TOUCHY.poison_min_records
        assert (state.committed, state.end) == (10, 40)
        assert state.word.codes == {"invalid_json": state.word.bad}
        assert world.dead() == []
        await process.stop()

    simulated(story)


def test_records_let_through_become_dead_letters_without_a_restart():
    """Each invalid record becomes one dead letter, valid ones are counted, and the breaker is
    active again after the mark.
    """

    async def story(world):
        await world.send(bad=30, good=5)
        process = world.process(0)
        process.start()
        await world.until(lambda: stopped(process))
        registry = process.worker.groups[0]._metrics.registry
        told = {"topic": SOURCE.topic, "partition": "0", "code": "poison_storm"}
        assert registry.get_sample_value("dia_partition_stopped", told) == 1.0
        await world.reset_breaker()
        await world.until(lambda: held(process).settled)
        assert registry.get_sample_value("dia_partition_stopped", told) is None
        assert sorted(world.dead()) == sorted(b"{%d" % n for n in range(30))
        assert world.counted() == 5
        assert await states(world.broker, app.topology) == []
        await world.send(bad=30)
        await world.until(lambda: stopped(process))
        [state] = await states(world.broker, app.topology)
        assert state.stopped
        assert state.word.offset >= 35
        assert len(world.dead()) == 30
        await process.stop()

    simulated(story)


def test_a_storm_that_another_process_has_passed_stops_no_partition():
    """Another process passes the records and returns the partition."""

    async def story(world):
        await world.send(good=10)
        process = world.process(0)
        process.start()
        await world.until(lambda: held(process) and held(process).settled)
        await world.send(bad=30)
        await world.until(lambda: stopped(process))
        member = world.broker.members[process.name]
        member.mute()
        plans = await plan(world.broker, DIA_GROUP, [SOURCE], world.clock.now_ms() + 1000)
        await give_orders(world.broker, world.clock, plans, "o-1", "ann", "of a bad deploy")
        other = world.process(1, "elsewhere")
        other.start()
        await world.until(lambda: world.broker.committed(DIA_GROUP, SOURCE).offset == 40)
        await other.kill()
        member.unmute()
        await world.send(good=5)
        await world.until(lambda: world.counted() == 15)
        await process.stop()

    simulated(story)


def test_the_mark_outlives_the_worker_that_waited_for_it():
    """After kill -9 of the worker that waited, the next owner on another host passes the same
    records once each.
    """

    async def story(world):
        await world.send(bad=30, good=5)
        process = world.process(0)
        process.start()
        await world.until(lambda: stopped(process))
        await world.reset_breaker()
        await process.kill()
        heir = world.process(0, host="other")
        heir.start()
        await world.until(lambda: held(heir) and held(heir).settled)
        assert len(world.dead()) == 30
        assert world.counted() == 5
        await heir.stop()

    simulated(story)


def test_a_restart_alone_stops_at_the_same_offset():
    """The records are still invalid: a restart loop must not drain the topic into the DLQ."""

    async def story(world):
        await world.send(bad=30)
        for slot in range(2):
            process = world.process(slot)
            process.start()
            await world.until(lambda process=process: stopped(process))
            await process.stop()
        assert world.dead() == []

    simulated(story)


def test_poison_at_offset_zero_is_an_ordinary_dead_letter():
    """A breaker that judged one record would refuse it without end."""

    async def story(world):
        await world.send(bad=1, good=3)
        process = world.process(0)
        process.start()
        await world.until(lambda: held(process) and held(process).settled)
        assert (world.dead(), world.counted()) == ([b"{0"], 3)
        assert held(process).stopped_by is None
        await process.stop()

    simulated(story)


def test_a_broker_that_is_away_is_asked_again(monkeypatch):
    """The partition must see the decision, even if the broker was away in between."""

    async def story(world):
        await world.send(bad=30)
        process = world.process(0)
        process.start()
        await world.until(lambda: stopped(process))
        whole, asked = world.broker.admin, []

        async def away():
            asked.append(1)
            raise BrokerUnavailable("away")

        await world.reset_breaker()
        monkeypatch.setattr(world.broker, "admin", away)
        await world.until(lambda: len(asked) > 3)
        monkeypatch.setattr(world.broker, "admin", whole)
        await world.until(lambda: held(process).settled)
        assert len(world.dead()) == 30
        await process.stop()

    simulated(story)


async def test_a_record_too_large_for_the_dlq_leaves_a_pointer_and_an_alert(rig):
    """The record fits the source only compressed. The dead letter holds its position, and an alert
    says that the source's retention will delete it.
    """
    admin = await rig.broker.admin()
    # The memory broker compresses no records: a higher limit has the same effect.
    await admin.alter_config(SOURCE.topic, {"max.message.bytes": str(4 << 20)})
    await rig.open()
    await rig.produce(b'{"x": "' + b"y" * (3 << 20) + b'"}')
    await rig.fold()
    await rig.commit()
    [headers] = rig.contents(rig.partition_dlq).headers
    assert dict(headers)["dia.dlq.pointer"] == b"true"
    assert rig.contents(rig.partition_dlq).values == [None]
    told = {"topic": SOURCE.topic}
    value = rig.metrics.registry.get_sample_value("dia_dead_letter_pointers_total", told)
    assert value == 1.0


@pytest.mark.parametrize("metadata", ["", "epoch=1", '{"state":"ajar"}', "{" * 5000])
async def test_a_foreign_committed_offset_is_no_permission(rig, metadata):
    """A committed offset without dia's metadata is no permission."""
    from streams.core.types import CommittedOffset
    from streams.engine.runtime.poison.poison_register import pass_mark, read_words, register_group

    producer = rig.broker.transactional_producer("x")
    await producer.start()
    await producer.begin()
    group = register_group(DIA_GROUP)
    await producer.send_offsets({SOURCE: CommittedOffset(99, metadata)}, group)
    await producer.commit()
    admin = await rig.broker.admin()
    assert await read_words(admin, DIA_GROUP, [SOURCE]) == {}
    assert await pass_mark(admin, DIA_GROUP, SOURCE) == 0
