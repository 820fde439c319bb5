"""Adoption of a later shard map by a partition, without moving a window
(docs/protocols/shard_maps.md, D6, D7).
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.app import DIA_GROUP, MODEL_METRICS, app
from streams.connect.sinks.map_record import MapRecord
from streams.connect.sinks.memory import MemoryShards
from streams.connect.sinks.sharding import HashSharding, ShardMap, WithoutShards
from streams.core.errors import ShardMapChanged, ShardUnavailable
from streams.core.rows.dated_map import MapIdentity
from streams.core.types import TopicPartition
from streams.engine.state.memory import MemoryDisk
from streams.operate.reset.outbox_drop import drop, plan_drop
from streams.operate.reset.reset import look, open_epoch, reset
from tests.unit.engine.runtime.conftest import SOURCE
from tests.unit.engine.runtime.test_unknown_targets import FUTURE, VERDICTS

CHANGELOG = TopicPartition(MODEL_METRICS.changelog(DIA_GROUP), 0)
DAY_MS = 86_400_000
MODELS = [f"m{number}" for number in range(30)]


def today(rig):
    return rig.clock.now_ms() // DAY_MS


async def events(rig, *, days=0):
    """Commit one event of each series."""
    ts = rig.clock.now_ms() + days * DAY_MS
    await rig.produce(*(rig.event(model_id=model, ts=ts) for model in MODELS))
    await rig.fold()
    await rig.commit()


def shards_of_windows(rig):
    columns = rig.partition.windows._columns
    live = columns.live()
    return {
        (int(minute) // 1440, int(key)): int(shard)
        for minute, key, shard in zip(
            columns.minute[live], columns.key[live], columns.shard[live], strict=True
        )
    }


def placed(rig, number, models=MODELS):
    columns = ["t"] * len(models), list(models), ["x"] * len(models)
    return rig.shards.maps[number].shard_of(*columns).tolist()


async def test_a_new_map_places_only_windows_of_its_days(rig):
    """This includes late events of yesterday that arrive when the new map is in use."""
    await rig.shards.ping(0)
    await rig.open()
    await events(rig)
    rig.shards.add_shard(today(rig) + 1)
    rig.partition.take_maps(rig.shards.maps)
    before = shards_of_windows(rig)
    rig.clock.jump_wall(DAY_MS)
    await events(rig)
    await events(rig, days=-1)
    link = rig.partition.state.link
    assert [one.first_day for one in link.later_maps] == [today(rig)]
    assert MapIdentity.parse(link.later_maps[0].map) == rig.shards.maps[1].identity
    now = shards_of_windows(rig)
    assert before.items() <= now.items()
    old = sorted(shard for (day, _), shard in now.items() if day < today(rig))
    new = sorted(shard for (day, _), shard in now.items() if day == today(rig))
    assert (old, new) == (sorted(placed(rig, 0)), sorted(placed(rig, 1)))
    assert 2 in new


@pytest.mark.parametrize("disk", [None, MemoryDisk()], ids=["store", "changelog"])
async def test_the_next_owner_places_windows_as_the_last_one_did(rig, disk):
    """The link records the days of each map: the old owner has already folded events of a later
    day.
    """
    await rig.shards.ping(0)
    await rig.open()
    rig.shards.add_shard(today(rig))
    await events(rig, days=-1)
    rig.partition.take_maps(rig.shards.maps)
    await events(rig)
    await events(rig, days=-2)
    before, link = shards_of_windows(rig), rig.partition.state.link
    await rig.open(disk)
    assert sorted(shards_of_windows(rig).values()) == sorted(before.values())
    await events(rig)
    assert rig.partition.state.link.later_maps == link.later_maps


async def test_a_map_that_arrives_late_begins_after_the_days_with_windows(rig):
    """The worker may have been unable to reach the servers for days."""
    await rig.shards.ping(0)
    await rig.open()
    await events(rig)
    rig.shards.add_shard(today(rig) - 3)
    await rig.open()
    await events(rig)
    (taken,) = rig.partition.state.link.later_maps
    assert taken.first_day == today(rig) + 1
    assert set(shards_of_windows(rig).values()) <= {0, 1}


async def test_an_owner_waits_until_a_server_confirms_the_map_of_the_changelog(rig):
    """Its settings name the first map, and ClickHouse is away."""
    await rig.open()
    rig.shards.add_shard(today(rig))
    rig.partition.take_maps(rig.shards.maps)
    await events(rig)
    servers, rig.shards = rig.shards, rig.shards.view()
    for faults in servers.faults:
        faults.down = True
    with pytest.raises(ShardUnavailable, match="3 shards by hash"):
        await rig.open()
    for faults in servers.faults:
        faults.down = False
    await rig.open()
    assert rig.shards.count == 3


async def test_an_owner_whose_lost_changelog_named_maps_waits_for_a_server(rig):
    """By the first map it would place windows of a day that has moved where they count no more."""
    await rig.open()
    rig.shards.add_shard(today(rig))
    rig.partition.take_maps(rig.shards.maps)
    await events(rig)
    rig.broker.log(CHANGELOG).trim(rig.broker.log(CHANGELOG).high_watermark)
    standing = await look(rig.broker, DIA_GROUP, MODEL_METRICS, 0, app.targets)
    await reset(rig.broker, rig.clock, open_epoch(standing, resume_at_start=False))
    servers, rig.shards = rig.shards, rig.shards.view()
    for faults in servers.faults:
        faults.down = True
    with pytest.raises(ShardUnavailable, match=r"changelog of .* was lost"):
        await rig.open(MemoryDisk())
    for faults in servers.faults:
        faults.down = False
    await rig.open(MemoryDisk())
    assert len(rig.partition.state.later_maps) == 1


@pytest.mark.parametrize("then", ["outbox drop", "reset"])
async def test_an_owner_waits_for_a_server_after_a_command_that_followed_the_reset(rig, then):
    """No owner has taken the maps since; the last link is one of the command."""
    now, rig.shards = rig.shards, rig.shards.with_tables(FUTURE)
    await rig.open()
    await rig.produce_events(3)
    await rig.fold()
    rig.partition.fact(VERDICTS, {"tenant": "t", "id": "one"})
    await rig.commit()
    end = rig.broker.log(CHANGELOG).high_watermark
    rig.shards.add_shard(today(rig))
    rig.partition.take_maps(rig.shards.maps)
    await events(rig)
    rig.broker.log(CHANGELOG).lose_tail(end)
    newer = replace(app.targets, tables=FUTURE)
    standing = await look(rig.broker, DIA_GROUP, MODEL_METRICS, 0, newer)
    assert standing.cause.code == "changelog_lost"
    await reset(rig.broker, rig.clock, open_epoch(standing, resume_at_start=False))
    if then == "outbox drop":
        plan = await plan_drop(rig.broker, DIA_GROUP, MODEL_METRICS, 0, app.targets, VERDICTS.name)
        assert await drop(rig.broker, rig.clock, plan, "ann", "rolled back") == 1
    else:
        await rig.recreate(SOURCE.topic)
        standing = await look(rig.broker, DIA_GROUP, MODEL_METRICS, 0, app.targets)
        await reset(rig.broker, rig.clock, open_epoch(standing, resume_at_start=False))
    servers, rig.shards = now, now.view()
    for faults in servers.faults:
        faults.down = True
    with pytest.raises(ShardUnavailable, match=r"changelog of .* was lost"):
        await rig.open(MemoryDisk())
    for faults in servers.faults:
        faults.down = False
    await rig.open(MemoryDisk())
    assert len(rig.partition.state.later_maps) == 1


async def test_a_changelog_with_a_map_that_the_servers_do_not_record_is_refused(rig):
    """The servers come from an older backup or another installation."""
    await rig.open()
    rig.shards.add_shard(today(rig))
    rig.partition.take_maps(rig.shards.maps)
    await events(rig)
    rig.shards = MemoryShards(2, rig.clock)
    with pytest.raises(ShardMapChanged, match=r"placed by 3 shards by hash .* has 2 shards"):
        await rig.open()


def move_of(rig, first, last, shards=2):
    shard_map = ShardMap(shards, WithoutShards(shards, HashSharding(shards), (0,)))
    record = MapRecord.of(
        shard_map, [["a"], ["b"]], version=len(rig.shards.maps) + 1, first_day=first, last_day=last
    )
    rig.shards.add_move(record)


async def test_a_move_waits_until_no_window_of_its_days_is_live(rig):
    """The row of a live window is on the shard where its first copy was sent."""
    await rig.shards.ping(0)
    await rig.open()
    await events(rig, days=-3)
    move_of(rig, today(rig) - 4, today(rig) - 3)
    rig.partition.take_maps(rig.shards.maps)
    assert rig.partition.lacks_maps(rig.shards.maps)
    assert not rig.partition.state.later_maps


@pytest.mark.parametrize("disk", [None, MemoryDisk()], ids=["store", "changelog"])
async def test_late_windows_of_a_moved_day_are_placed_by_the_move(rig, disk):
    """The move is committed though no record arrives, and the next owner places as the last one."""
    await rig.shards.ping(0)
    await rig.open()
    await events(rig)
    move_of(rig, today(rig) - 4, today(rig) - 3)
    rig.partition.take_maps(rig.shards.maps)
    assert rig.partition.has_changes()
    await rig.commit()
    (taken,) = rig.partition.state.link.later_maps
    assert (taken.first_day, taken.last_day) == (today(rig) - 4, today(rig) - 3)
    await events(rig, days=-3)
    before = shards_of_windows(rig)
    assert {shard for (day, _), shard in before.items() if day == today(rig) - 3} == {1}
    assert {shard for (day, _), shard in before.items() if day == today(rig)} == {0, 1}
    await rig.open(disk)
    assert sorted(shards_of_windows(rig).values()) == sorted(before.values())


async def test_an_owner_takes_a_move_before_it_folds(rig):
    """A mover that reads a chain without commits waits for this."""
    move_of(rig, today(rig) - 4, today(rig) - 3)
    await rig.open()
    await rig.shards.learn()
    rig.partition.take_maps(rig.shards.maps)
    await rig.commit()
    assert len(rig.partition.state.link.later_maps) == 1
