"""The page of stored data: shards, moves, backups and drills, each shown where the others are away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.sinks.map_record import DayState, MapRecord, RecordedMap
from streams.connect.sinks.shard_maps import KnownMaps, assumed
from streams.connect.sinks.sharding import HashSharding, ShardMap, WithoutShards
from streams.core.clock import VirtualClock
from streams.core.errors import ShardUnavailable
from streams.core.settings import Settings
from streams.http.region import RegionGate
from streams.operate.backup.destination import BackupDestination
from streams.operate.drill.record import DrillRecord, keep
from streams.operate.regions.watch import RegionWatch
from streams.operate.regions.word import RegionWord, journal_topic, write_word

DRILL = DrillRecord(
    procedure="shard", shard=1, backup="20270115T000000Z-full", began_ms=9, rows=4, restore_s=1.5,
    rebuild_s=0.5, rpo_s=60.0, lost={"ledger": 2, "dead_letters": 1},
)  # fmt: skip


@pytest.fixture
def console_settings(tmp_path):
    (tmp_path / "backups" / "parts" / "20270115T000000Z-full" / "shard-0").mkdir(parents=True)
    return Settings(home=str(tmp_path), backup_to=f"file://{tmp_path}/backups")


def moved():
    """Two days leave shard 0; one of them has moved."""
    first = assumed(Settings(clickhouse_shards="http://a:1,http://b:1"))
    strategy = WithoutShards(2, HashSharding(2), (0,))
    record = MapRecord.of(
        ShardMap(2, strategy), first.urls, version=2, first_day=20_000, last_day=20_001
    )
    move = RecordedMap(record, in_force=True, states={20_000: DayState.DONE})
    return KnownMaps((*first.maps, move), first.urls, recorded=True)


async def shown(http, bearer):
    answer = await http.get("/api/data", headers=bearer("admin"))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_moves_backups_and_drills_are_shown(
    http, bearer, process, console_settings, monkeypatch
):
    """What an operator looks for first: what is unfinished, and what would give rows back."""

    async def known(self):
        return moved()

    monkeypatch.setattr(type(process._shards), "known", known)
    keep(BackupDestination.of(console_settings), DRILL)
    found = await shown(http, bearer)
    assert [one["addresses"] for one in found["shards"]] == [["http://a:1"], ["http://b:1"]]
    assert [(one["map"], one["moves"]) for one in found["maps"]] == [(1, False), (2, True)]
    states = [(one["day"], one["state"], one["unfinished"]) for one in found["days"]]
    assert states == [("2024-10-05", "copying", True), ("2024-10-04", "done", False)]
    assert [(one["state"], one["bytes"]) for one in found["backups"]] == [("incomplete", None)]
    (drill,) = found["drills"]
    assert (drill["name"], drill["rto_s"], drill["lost_rows"]) == ("shard-1", 2.0, 3)
    assert not found["degraded"]


async def test_backups_are_shown_while_no_server_says_its_maps(http, bearer, process, monkeypatch):
    """Then a restore is what is needed."""

    async def known(self):
        raise ShardUnavailable("no server answers")

    monkeypatch.setattr(type(process._shards), "known", known)
    found = await shown(http, bearer)
    assert (found["degraded"], found["maps_unknown"]) == (True, "no server answers")
    assert (found["shards"], len(found["backups"])) == ([], 1)


async def test_without_a_destination_the_answer_says_what_to_set(
    http, bearer, process, monkeypatch
):
    """An empty list would pass for no backup."""
    handler = process.console.stored_data
    monkeypatch.setattr(handler, "_settings", replace(handler._settings, backup_to=""))

    async def known(self):
        return moved()

    monkeypatch.setattr(type(process._shards), "known", known)
    assert "DIA_BACKUP_TO is not set" in (await shown(http, bearer))["backups_unknown"]


async def test_regions_are_shown_as_this_console_read_them(http, bearer, process, monkeypatch):
    """An operator sees there which region is active, and what a failover would leave behind."""
    clock = VirtualClock()
    brokers = {name: MemoryBroker(clock) for name in ("east", "west")}
    await (await brokers["east"].admin()).create_topics([journal_topic("dia")])
    word = RegionWord(epoch=3, active="east", at_ms=0, actor="a", reason="")
    await write_word(brokers["east"], "dia", word, clock)
    watch = RegionWatch("east", brokers, "dia", clock, 30.0)
    await watch.look()
    monkeypatch.setattr(process.console.stored_data, "_region", RegionGate(watch))
    east, west = (await shown(http, bearer))["regions"]
    assert (east["here"], east["active"], east["epoch"], east["read_s"]) == (True, "east", 3, 0.0)
    assert (west["here"], west["active"], west["read_s"]) == (False, "", None)


async def test_without_regions_none_is_shown(http, bearer):
    """Most installations are one region."""
    assert (await shown(http, bearer))["regions"] == []
