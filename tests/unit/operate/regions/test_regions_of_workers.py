"""Two regions whose rows come from the engine itself: one is lost and comes back."""

from __future__ import annotations

import asyncio

import pytest

from agents.app import MODEL_METRICS, app
from streams.dev.simulation.loop import VirtualLoop, run
from streams.dev.simulation.mirror import Mirror
from streams.operate.regions.failover import RegionSwitch, Switch
from streams.operate.regions.word import journal_topic
from tests.unit.operate.rebuilt_pipeline import TP, Pipeline

LEASE_S = 5.0
OTHER = {"east": "west", "west": "east"}


class Regions:
    """A pipeline in each, on one clock, with mirrors that copy again what they copied last."""

    def __init__(self, loop):
        self.pipelines = {name: Pipeline(loop=loop) for name in OTHER}
        self.clock = self.pipelines["east"].world.clock
        self.brokers = {name: one.world.broker for name, one in self.pipelines.items()}
        self.mirrors = {}

    async def open(self):
        for name, pipeline in self.pipelines.items():
            await pipeline.world.create_topics()
            await (await self.brokers[name].admin()).create_topics([journal_topic("dia")])
            pipeline.start()
            self.start_mirror(name)
        switch = RegionSwitch(self.brokers, app.topology, self.clock, LEASE_S)
        await switch.begin("east", "test")

    def start_mirror(self, name):
        """That which writes into ``name``."""
        source = OTHER[name]
        mirror = Mirror(
            source, self.brokers[source], self.brokers[name], [MODEL_METRICS.name], self.clock
        )
        self.mirrors[name] = asyncio.create_task(mirror.run())

    def kill_mirror(self, name):
        self.mirrors.pop(name).cancel()

    async def change(self, to, **order):
        switch = RegionSwitch(self.brokers, app.topology, self.clock, LEASE_S)
        return await switch.run(Switch(target=to, actor="test", reason="", **order))

    def counts(self):
        return {name: pipeline.counts() for name, pipeline in self.pipelines.items()}

    async def close(self):
        for task in self.mirrors.values():
            task.cancel()
        for pipeline in self.pipelines.values():
            await pipeline.worker.stop()


@pytest.mark.parametrize("killed_after_s", [0.3, 1.1, 2.0])
def test_rows_of_both_regions_count_each_event_once(killed_after_s):
    """Copied twice by a mirror, posted twice by a client, or missed by the mirror of a lost region."""
    loop = VirtualLoop()
    regions = Regions(loop)

    async def story():
        await regions.open()
        east, west = regions.pipelines["east"], regions.pipelines["west"]
        await east.send(20, east.now_s)
        await asyncio.sleep(killed_after_s)
        regions.kill_mirror("west")
        regions.start_mirror("west")
        await asyncio.sleep(20)
        assert regions.brokers["west"].log(TP).high_watermark > 20, "nothing was copied twice"
        regions.kill_mirror("west")
        await east.send(10, east.now_s, tag="tail")
        await asyncio.sleep(2)
        regions.brokers["east"].faults.down()
        done = await regions.change("west", without_old=True)
        assert {one.tp.topic for one in done.missing} >= {MODEL_METRICS.name}
        await west.send(5, east.now_s, tag="tail")  # half of the answers did not arrive
        await west.send(10, east.now_s, tag="west")
        regions.brokers["east"].faults.up()
        regions.start_mirror("west")
        back = await regions.change("east", back=True)
        assert (back.active, back.missing) == ("east", ())
        await asyncio.sleep(180)
        for table, count in regions.counts()["west"].items():
            assert count == regions.counts()["east"][table] == 40, table
        await regions.close()

    run(loop, story())
