"""A pipeline in memory whose rows a test loses and rebuilds."""

from __future__ import annotations

import asyncio
import json

from agents.app import AGGREGATE_METRICS, DIA_GROUP, MODEL_METRICS, app
from streams.core.types import TopicPartition
from streams.dev.simulation.history import SETTINGS
from streams.dev.simulation.loop import VirtualLoop, run
from streams.dev.simulation.operators.rebuilds import rebuilt
from streams.dev.simulation.world import World
from streams.operate.rebuild.rebuild import RebuildOptions
from streams.operate.reset.reset import look, open_epoch, reset

TP = TopicPartition(MODEL_METRICS.name, 0)
HOUR_S = 3600
CLOSED_S = 120


class Pipeline:
    """One worker, two shards, one partition."""

    def __init__(self, settings=SETTINGS, loop=None):
        self.world = World(loop or VirtualLoop(), settings, [AGGREGATE_METRICS], partitions=1)
        self.now_s = self.world.start_ms // 1000 // HOUR_S * HOUR_S

    def play(self, story):
        async def main():
            await self.world.create_topics()
            self.start()
            await asyncio.sleep(1)
            await story(self)
            await self.worker.stop()

        run(self.world.loop, main())

    def start(self):
        self.worker = self.world.process(0, "a")
        self.worker.start()

    async def lose_changelog(self):
        """With its host, and open a new epoch, as `dia tables reset` does."""
        await self.worker.stop()
        self.world.disks.clear()
        broker = self.world.broker
        changelog = TopicPartition(MODEL_METRICS.changelog(DIA_GROUP), 0)
        broker.log(changelog).trim(broker.log(changelog).high_watermark)
        standing = await look(broker, DIA_GROUP, MODEL_METRICS, 0, app.targets)
        await reset(broker, self.world.clock, open_epoch(standing, resume_at_start=False))
        self.start()

    async def send(self, count, ts_s, tag=""):
        producer = self.world.broker.plain_producer()
        for number in range(count):
            event = {
                "event_id": f"{tag}{number}",
                "tenant_id": "t",
                "model_id": f"m{number % 3}",
                "metric": "x",
                "ts": ts_s * 1000,
                "value": number + 0.25,
            }
            await (await producer.send(TP.topic, b"t", json.dumps(event).encode()))

    async def close(self):
        """Let the windows of what was sent close, and their hours and days follow."""
        await asyncio.sleep(CLOSED_S)

    def lose(self, *names):
        """The rows of these tables, of every shard."""
        for name in names:
            for rows in self.tables(name):
                rows.clear()

    async def rebuild(self, settings=SETTINGS, agent=AGGREGATE_METRICS, **options):
        options = {"from_s": self.now_s - HOUR_S, "to_s": self.now_s + 2 * HOUR_S, **options}
        report = await rebuilt(self.world, agent, RebuildOptions(**options), settings)
        (partition,) = report.partitions
        return partition, report

    def counts(self):
        return {table: self._count(table) for table in ("m1", "h1", "d1")}

    def _count(self, table):
        return sum(row["n"] for row in self.world.shards.rows(table))

    def tables(self, name):
        return [self.world.shards.replicas(shard)[0].tables[name] for shard in (0, 1)]
