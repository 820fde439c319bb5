"""Rows of dead letters and of the ledger, lost and written again from Kafka."""

from __future__ import annotations

import pytest

from agents.app import AGGREGATE_METRICS, MODEL_METRICS
from agents.app import app as built_in
from streams.connect.broker.opened import opened
from streams.dev.simulation.operators.memory_windows import MemoryStoredFacts
from streams.operate.dlq.scan import bounds, scan
from streams.operate.rebuild.facts import FactsRebuild
from streams.operate.replay.journal.control import dispose, journals_in
from streams.operate.replay.journal.dispositions import ReplayDisposition
from tests.unit.operate.test_rebuild import Pipeline

TABLES = ("dead_letters", "ledger")


async def rebuilt(it, *, dry=False):
    world = it.world
    async with opened(world.broker.reader()) as reader, opened(world.broker.admin()) as admin:
        topology = built_in.topology
        rebuild = FactsRebuild(
            agents=(AGGREGATE_METRICS,),
            topology=topology,
            reader=reader,
            admin=admin,
            shards=world.shards.unwatched(),
            store=MemoryStoredFacts(world.shards),
            journals=await journals_in(reader, await admin.describe_topics(), topology.topics),
            clock=world.clock,
            check=lambda: None,
            dry=dry,
        )
        return await rebuild.run()


async def discarded(it, count):
    """Decide on the first dead letters."""
    world, topology = it.world, built_in.topology
    async with opened(world.broker.reader()) as reader:
        span, *_ = await bounds(reader, MODEL_METRICS.dlq, 1)

        async def first():
            async for page in scan(reader, [span], topology):
                yield page[:count]

        result = await dispose(
            *(
                world.broker,
                world.shards.unwatched(),
                world.clock,
                topology,
                MODEL_METRICS,
                first(),
            ),
            *(ReplayDisposition.DISCARDED, "ann", "test data"),
        )
        return result.disposed


def shown(it, name):
    """Without the moment of the insert, and the commit that a row of the ledger is of."""
    left_out = {"at", "ver"} if name == "ledger" else {"at"}
    rows = it.world.shards.rows(name)
    return sorted(
        ({key: value for key, value in row.items() if key not in left_out} for row in rows), key=str
    )


def test_lost_facts_are_those_of_kafka_again_and_others_are_named():
    """The engine forgot them with their acknowledgement, and they are not in the source log."""
    it = Pipeline()

    async def story(it):
        await it.send(9, it.now_s)
        await it.send(6, it.now_s - 400 * 86_400, "too old ")
        await it.close()
        assert await discarded(it, 2) == 2
        whole = {name: shown(it, name) for name in TABLES}
        assert [row["actor"] for row in whole["dead_letters"]].count("ann") == 2
        assert (len(whole["dead_letters"]), len(whole["ledger"])) == (6, 1)
        report = await rebuilt(it)
        assert (report.dead_letters, report.ledger) == (0, 0)
        it.lose(*TABLES)
        report = await rebuilt(it, dry=True)
        assert (report.dead_letters, report.ledger, shown(it, "ledger")) == (6, 1, [])
        report = await rebuilt(it)
        assert "shed_ranges" in report.notes[0]
        assert {name: shown(it, name) for name in TABLES} == whole
        await it.send(3, it.now_s, "more ")
        await it.close()
        assert shown(it, "ledger")[0]["read"] == 18

    it.play(story)


def test_a_rebuild_that_takes_versions_for_offsets_is_found(monkeypatch):
    """It told rows of the ledger as lost that were there; the law has to be able to fail."""

    async def versions(self):
        return {
            (row["grp"], row["topic"], row["part"], row["epoch"]): row["ver"]
            for row in self._shards.rows("ledger")
        }

    monkeypatch.setattr(MemoryStoredFacts, "ledger", versions)
    with pytest.raises(AssertionError):
        test_lost_facts_are_those_of_kafka_again_and_others_are_named()
