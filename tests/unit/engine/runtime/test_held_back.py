"""A foreign open transaction: the status reports it and its age until it ends."""

from __future__ import annotations

import asyncio

from streams.core.types import OutboundRecord
from streams.engine.health.live_workers import LiveWorker
from streams.engine.health.observation import Observation
from streams.engine.health.rule import judge
from tests.unit.engine.runtime.running_world import HERE, counted, held, history, send, until


def test_the_status_gives_the_age_of_an_open_transaction():
    """The lag is 0 and every worker is healthy, yet records of all producers stay unread."""

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
    """A partition that stopped for another reason has another remedy."""
    partition = {"group": "g", "topic": "t", "partition": 0, "stopped_by": "batch_unreadable"}
    worker = LiveWorker(pid=1, slot=0, partitions=[partition])
    found = judge(Observation(at_ms=0, sources=(), workers=(worker,))).findings
    [finding] = [one for one in found if one.code == "partition_stopped"]
    assert finding.mend == "dia shed plan --unreadable --topic t"
