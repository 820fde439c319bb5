"""Dead letters that retention removes while an audit reads them."""

from __future__ import annotations

import asyncio

from agents.app import AGGREGATE_METRICS, MODEL_METRICS
from streams.connect.broker.memory.reader import MemoryReader
from streams.connect.broker.opened import opened
from streams.core.types import TopicPartition
from streams.dev.simulation.history import SETTINGS
from streams.dev.simulation.loop import VirtualLoop, run
from streams.dev.simulation.operators.memory_windows import facts_reader
from streams.dev.simulation.world import World

DLQ = TopicPartition(MODEL_METRICS.dlq, 0)
LETTERS = 4


def test_the_audit_goes_on_and_says_that_letters_were_trimmed(monkeypatch):
    """An audit that ends at the first removed letter says nothing about everything else."""
    world, read = (
        World(VirtualLoop(), SETTINGS, [AGGREGATE_METRICS], partitions=1),
        MemoryReader.read,
    )

    async def removed(self, tp, offset, max_records=5000):
        if tp == DLQ and offset == 0:
            self._cluster.log(tp).trim(1)
        return await read(self, tp, offset, max_records)

    async def story():
        await world.create_topics()
        worker = world.process(0, "a")
        worker.start()
        producer = world.broker.plain_producer()
        for _ in range(LETTERS):
            await (await producer.send(MODEL_METRICS.name, b"t", b"{"))
        await asyncio.sleep(10)
        await worker.stop()
        monkeypatch.setattr(MemoryReader, "read", removed)
        async with opened(world.broker.reader()) as reader, opened(world.broker.admin()) as admin:
            return await facts_reader(world, reader, admin).facts(AGGREGATE_METRICS)

    found = run(world.loop, story()).dead
    assert found.trimmed == {0}
    assert sum(found.records.values()) == LETTERS - 1
