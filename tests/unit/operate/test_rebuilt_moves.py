"""Rebuilds of days that moved, and beside movers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from agents.app import AGGREGATE_METRICS
from streams.connect.sinks.map_record import MapRecord
from streams.connect.sinks.moves.memory import MemoryMoves
from streams.connect.sinks.moves.notes import MoveOrder
from streams.connect.sinks.sharding import HashSharding, ShardMap, WithoutShards
from streams.core.command_errors import RebuildRefused
from streams.core.rows.moved_mark import mark
from streams.operate.shards.mover import MoveMeans, MoveOptions, Mover
from tests.unit.operate.rebuilt_pipeline import Pipeline


@pytest.fixture
def pipeline():
    return Pipeline()


class WithoutRollUps(Mover):
    """Hours and days are recomputed already."""

    def _roll_up(self, day):
        return


def moved_day(world, day, away):
    """Move the day off one shard, as `dia shards move` does."""
    strategy = WithoutShards(2, HashSharding(2), (away,))
    version = len(world.shards.recorded_moves) + 2
    record = MapRecord.of(
        ShardMap(2, strategy), [["a"], ["b"]], version=version, first_day=day, last_day=day
    )
    world.shards.add_move(record)
    means = MoveMeans(
        taken=lambda: None,
        check=lambda: None,
        say=lambda _: None,
        sleep=lambda _: None,
        clock=world.clock,
        retention_days=30,
        order=MoveOrder,
        told=lambda _: None,
    )
    return WithoutRollUps(MemoryMoves(world.shards, version), MoveOptions(), means)


def lose_every_other_row(it):
    """And spoil the others, and lose all hours and days."""
    for rows in it.tables("m1"):
        for number, (key, row) in enumerate(list(rows.items())):
            rows[key] = {**row, "n": row["n"] + 5}
            if number % 2:
                del rows[key]
    it.lose("h1", "d1")


def keys_of(it, name):
    return {key for rows in it.tables(name) for key in rows}


@pytest.mark.parametrize("given_up", [False, True])
def test_a_day_that_moved_is_rebuilt_under_the_keys_that_its_rows_had(pipeline, given_up):
    """Under another key an hour that still counts a lost row would count it twice. A move that was given
    up leaves late rows where it placed them."""

    async def story(it):
        await it.send(9, it.now_s)
        await it.close()
        mover = moved_day(it.world, it.now_s // 86_400, 0)
        with pytest.raises(RebuildRefused, match=r"being moved.*dia shards cancel 2"):
            await it.rebuild()
        await asyncio.sleep(60)  # the worker takes the move
        await it.send(6, it.now_s, "late ")
        await it.close()
        assert mark(2) in {row["moved"] for row in it.world.shards.stored("m1")}
        report = mover.give_up() if given_up else mover.run()
        assert (len(report.given_up), report.days) == ((1, 0) if given_up else (0, 1))
        whole = {name: keys_of(it, name) for name in ("m1", "h1", "d1")}
        for loss in (lose_every_other_row, lambda it: it.lose("m1")):
            loss(it)
            found, report = await it.rebuild()
            assert (bool(found.lost), report.stale) == (True, [])
            assert it.counts() == {"m1": 15, "h1": 15, "d1": 15}
            assert {name: keys_of(it, name) for name in whole} == whole
        found, report = await it.rebuild()
        assert (found.changed, found.lost, found.emptied, report.stale) == (0, 0, 0, [])

    pipeline.play(story)


@pytest.mark.parametrize("moved", [False, True])
def test_rows_of_a_moved_day_stay_lost_where_their_changelog_is_lost(pipeline, moved):
    """It alone said which move had placed them: a row under another key counts beside the hours that
    still count it. Rows whose shard no later map decides are rebuilt."""

    async def story(it):
        await it.send(9, it.now_s)
        await it.close()
        if moved:
            mover = moved_day(it.world, it.now_s // 86_400, 0)
            await asyncio.sleep(60)  # the worker takes the move
            await it.send(6, it.now_s, "late ")
            await it.close()
            mover.run()
        before = it.counts()
        await it.lose_changelog()
        await asyncio.sleep(60)
        it.lose("m1")
        if moved:
            with pytest.raises(RebuildRefused, match="epochs before 1 are lost"):
                await it.rebuild()
            assert it.counts() == {**before, "m1": 0}
        else:
            await it.rebuild()
            assert it.counts() == before

    pipeline.play(story)


def test_rows_of_a_day_that_moves_meanwhile_are_not_replaced(pipeline):
    """They would be written where they no longer count, and the command would say that it went well."""

    async def story(it):
        await it.send(9, it.now_s)
        await it.close()
        it.lose("m1")
        days = [it.now_s // 86_400]

        def process(events, scope):
            if days:
                moved_day(it.world, days.pop(), 0).run()
            AGGREGATE_METRICS.process(events, scope)

        with pytest.raises(RebuildRefused, match="moved to other shards meanwhile"):
            await it.rebuild(agent=replace(AGGREGATE_METRICS, process=process))
        assert it.counts() == {"m1": 0, "h1": 9, "d1": 9}

    pipeline.play(story)
