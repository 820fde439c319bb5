"""A refused row comes back to where its day is, also when the day moved meanwhile."""

from __future__ import annotations

import msgspec
import pytest

from streams.connect.sinks.map_record import DayState, MapRecord
from streams.connect.sinks.memory import MemoryShards
from streams.connect.sinks.sharding import HashSharding, ShardMap, WithoutShards
from streams.core.clock import VirtualClock
from streams.core.errors import ShardUnavailable
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.rows.dated_map import DAY_S
from streams.core.rows.moved_mark import mark, token
from streams.operate.replay.run.sink_row import RefusedWindowRow, insert_fact, insert_window

DAY = 20_000
ROW = RefusedWindowRow(
    table="m1", tenant="t", model="m", metric="k", part=1, w=DAY * DAY_S + 60, inc=7, n=3, s1=0.3,
    s2=0.03, mean=0.1, m2=0.0, lo=0.1, hi=0.1, lv=0.1, lt=DAY * DAY_S * 1000 + 60_000, sk_k=[900],
    sk_n=[3], ver=9, shard=0,
)  # fmt: skip


SOLD = ClickHouseTable(
    name="sold",
    columns={"account": str, "w": "DateTime64(3, 'UTC')", "n": int},
    order_by=("account", "w"),
    shard_by=("account",),
    in_epoch=True,
    day_of="w",
)


def two_shards():
    clock = VirtualClock(start_ms=(DAY + 5) * DAY_S * 1000)
    return MemoryShards(2, clock, tables={SOLD.name: SOLD})


def add_move(made):
    """Its day leaves shard 0."""
    shard_map = ShardMap(2, WithoutShards(2, HashSharding(2), (0,)))
    record = MapRecord.of(shard_map, [["a"], ["b"]], version=2, first_day=DAY, last_day=DAY)
    made.add_move(record)


@pytest.fixture
def shards():
    """With the move."""
    made = two_shards()
    add_move(made)
    return made


async def test_a_row_waits_while_its_day_moves(shards):
    """The copy of its portion may be made already, and the original will be deleted."""
    with pytest.raises(ShardUnavailable, match="moves to other shards"):
        await insert_window(shards, ROW)
    assert shards.stored("m1") == []


async def test_a_row_waits_while_no_server_says_if_its_day_moved():
    """Servers may be too slow for a question about maps, and store a row: by older maps it would lie where
    it does not count, and its dead letter would count as replayed."""
    shards = two_shards()
    await shards.learn()
    add_move(shards)
    shards.enter_day(2, DAY, DayState.DONE)
    for faults in shards.faults:
        faults.mute = True
    with pytest.raises(ShardUnavailable, match="no server says"):
        await insert_window(shards, ROW)
    assert shards.stored("m1") == []


async def test_a_row_that_goes_by_the_maps_known_last_is_found(monkeypatch):
    """The law above has to be able to fail."""

    async def nothing_new(self, *, certain=False):
        del certain

    monkeypatch.setattr(MemoryShards, "learn", nothing_new)
    monkeypatch.setattr(MemoryShards, "maps", two_shards().maps)
    with pytest.raises(pytest.fail.Exception):
        await test_a_row_waits_while_no_server_says_if_its_day_moved()


async def test_a_row_of_a_moved_day_goes_to_the_target_as_its_copy_would(shards):
    """An insert before the move may have stored it: then it is the same row."""
    shards.enter_day(2, DAY, DayState.DONE)
    await insert_window(shards, ROW)
    await insert_window(shards, ROW)
    (stored,) = shards.stored("m1", 1)
    assert stored["moved"] == token(2, 0)
    assert [row["n"] for table in ("m1", "h1", "d1") for row in shards.rows(table)] == [3, 3, 3]


async def test_a_row_of_a_returned_day_goes_where_it_was_refused(shards):
    """The originals count there."""
    shards.enter_day(2, DAY, DayState.RETURNED)
    await insert_window(shards, ROW)
    (stored,) = shards.stored("m1", 0)
    assert stored["moved"] == 0


async def test_a_row_goes_the_way_of_every_move_of_its_day(shards):
    """Where the first move brought it, and from there where the next one does; also back."""
    shards.enter_day(2, DAY, DayState.DONE)
    back = ShardMap(2, WithoutShards(2, HashSharding(2), (1,)))
    record = MapRecord.of(back, [["a"], ["b"]], version=3, first_day=DAY, last_day=DAY)
    shards.add_move(record)
    with pytest.raises(ShardUnavailable):
        await insert_window(shards, ROW)
    shards.enter_day(3, DAY, DayState.DONE)
    await insert_window(shards, ROW)
    (stored,) = shards.stored("m1", 0)
    assert stored["moved"] == token(3, 1)
    late = msgspec.structs.replace(ROW, inc=8, shard=1, moved=mark(2))
    await insert_window(shards, late)
    placed = msgspec.structs.replace(ROW, inc=9, shard=0, moved=mark(3))
    await insert_window(shards, placed)
    assert {row["moved"] for row in shards.stored("m1", 0)} == {token(3, 1), mark(3)}
    assert sum(row["n"] for row in shards.rows("h1")) == 9


async def test_a_row_of_app_windows_goes_where_its_day_is(shards):
    """Its key, not its series, says which shard the move takes it to."""
    first = shards.maps[0]
    account = next(name for name in "abcdefgh" if first.shard_of_key(name) == 0)
    row = {"account": account, "w": DAY * DAY_S * 1000, "n": 1, "epoch": 0, "ver": 5}
    with pytest.raises(ShardUnavailable, match="moves to other shards"):
        await insert_fact(shards, SOLD, row)
    late = {**row, "w": row["w"] + 1, "moved": mark(2)}
    await insert_fact(shards, SOLD, late)
    shards.enter_day(2, DAY, DayState.DONE)
    for _ in range(2):
        await insert_fact(shards, SOLD, row)
    await insert_fact(shards, SOLD, {**row, "w": row["w"] + DAY_S * 1000})
    moved = {one["w"] - row["w"]: one["moved"] for one in shards.stored("sold", 1)}
    assert moved == {0: token(2, 0), 1: mark(2)}
    assert [one["moved"] for one in shards.stored("sold", 0)] == [0]
    assert sorted(one["w"] - row["w"] for one in shards.rows("sold")) == [0, 1, DAY_S * 1000]
