"""The shard maps of a backup, which a restore records on servers that lost theirs."""

from __future__ import annotations

import msgspec
import pytest

from streams.connect.sinks.map_record import DayState, MapRecord, RecordedMap
from streams.connect.sinks.shard_maps import KnownMaps
from streams.connect.sinks.sharding import HashSharding, ShardMap, WithoutShards
from streams.core.errors import RefusedBySafety
from streams.operate.backup.described import described_maps
from streams.operate.backup.manifest import ManifestMap

FIRST_DAY = 20_000
URLS = (("http://a",), ("http://b",))


def known(*states):
    """Of two shards and one move, of a day for each state."""
    first = MapRecord.of(ShardMap(2, HashSharding(2)), URLS)
    without = ShardMap(2, WithoutShards(2, HashSharding(2), (1,)))
    days = range(FIRST_DAY, FIRST_DAY + len(states))
    move = MapRecord.of(without, URLS, version=2, first_day=days[0], last_day=days[-1])
    there = {day: state for day, state in zip(days, states, strict=True) if state}
    maps = (RecordedMap(first, in_force=True), RecordedMap(move, in_force=True, states=there))
    return KnownMaps(maps, URLS, recorded=True)


def test_days_that_moved_or_were_given_up_are_so_after_a_restore():
    """Without it a day that was given up would be one that moves: no backup, no replay of its rows, and a
    mover that is run again would move it."""
    before = known(DayState.DONE, DayState.RETURNED)
    written = msgspec.json.encode(described_maps(before))
    maps = msgspec.json.decode(written, type=list[ManifestMap])
    assert [one.recorded for one in maps] == list(before.maps)
    assert not maps[1].recorded.unfinished


def test_a_restore_that_forgets_given_up_days_is_found(monkeypatch):
    """The law has to be able to fail."""

    def without(self):
        return RecordedMap(self.record, self.in_force, dict.fromkeys(self.moved, DayState.DONE))

    monkeypatch.setattr(ManifestMap, "recorded", property(without))
    with pytest.raises(AssertionError):
        test_days_that_moved_or_were_given_up_are_so_after_a_restore()


@pytest.mark.parametrize("state", [DayState.COPYING, DayState.SHOWN, DayState.CLEANING])
def test_a_day_that_moves_is_in_no_backup(state):
    """Its rows may be on two shards."""
    with pytest.raises(RefusedBySafety, match="moves 2024-10-04"):
        described_maps(known(state))
