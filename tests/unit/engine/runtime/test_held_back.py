"""A foreign transaction that stays open: said, for how long, and over once it is decided."""

from __future__ import annotations

import asyncio

from streams.core.types import OutboundRecord
from streams.engine.health.live_workers import LiveWorker
from streams.engine.health.observation import Observation
from streams.engine.health.rule import judge
from tests.unit.engine.runtime.running_world import HERE, counted, held, history, send, until


def test_how_long_an_open_transaction_holds_a_partition_back_is_said():
    """Lag is zero and nothing is wrong with any worker: records of all producers are unread."""

    async def story(world, process):
        await send(world, HERE, 3)
        await until(lambda: counted(world, HERE) == 3)
        assert held(process, HERE).held_back_s == 0.0
        producer = world.broker.transactional_producer("stranger")
        producer._timeout_s = 900.0
        await producer.start()
        await producer.begin()
        await producer.send(OutboundRecord(HERE, b"t", b"{"))
        await send(world, HERE, 4)
        await asyncio.sleep(70.0)
        assert 60.0 < held(process, HERE).held_back_s < 75.0
        metrics = process.worker.groups[0]._metrics
        labels = {"topic": HERE.topic, "partition": "0"}
        assert metrics.registry.get_sample_value("dia_held_back_seconds", labels) > 60.0
        await producer.commit()
        await until(lambda: counted(world, HERE) == 7)
        await asyncio.sleep(2.0)
        assert held(process, HERE).held_back_s == 0.0

    history(story)


def test_a_partition_that_is_held_back_for_long_is_a_finding():
    """`dia status` and `dia doctor` name the command that finds the producer."""
    partition = {"group": "g", "topic": "t", "partition": 0, "held_back_s": 61.0}
    worker = LiveWorker(pid=1, slot=0, partitions=[partition])
    found = judge(Observation(at_ms=0, sources=(), workers=(worker,))).findings
    [finding] = [one for one in found if one.code == "transaction_open"]
    assert finding.subject == "t/0"
    assert "find-hanging --topic t" in finding.mend


def test_a_partition_that_cannot_be_read_names_the_command_that_skips_it():
    """Another stop has another way out."""
    partition = {"group": "g", "topic": "t", "partition": 0, "stopped_by": "batch_unreadable"}
    worker = LiveWorker(pid=1, slot=0, partitions=[partition])
    found = judge(Observation(at_ms=0, sources=(), workers=(worker,))).findings
    [finding] = [one for one in found if one.code == "partition_stopped"]
    assert finding.mend == "dia shed plan --unreadable --topic t"
