"""The contract of `ShardSet` for rows, on `MemoryShards` and on real ClickHouse."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import numpy as np
import pytest

from agents.app import app
from streams.core.rows.built_in_tables import FactRows, RowsRefused


async def test_a_row_is_read_back_unchanged(world: Any, windows: Any, hour_start: Any) -> None:
    """Readers of the view see every column exactly as the fold counted it."""
    start = hour_start()
    sent = windows(
        world.tenant, [start], n=3, inc=1 << 40 | 9, part=2, ver=1 << 40 | 17, value=-0.1
    )
    await world.shards.insert(0, [sent])
    (row,) = await world.rows("m1", 0)
    row.pop("at")
    assert row == {
        "tenant": world.tenant,
        "model": "m",
        "metric": "k",
        "w": start,
        "part": 2,
        "inc": 1 << 40 | 9,
        "n": 3,
        "s1": 3 * -0.1,
        "s2": 3 * -0.1 * -0.1,
        "mean": -0.1,
        "m2": 0.0,
        "lo": -0.1,
        "hi": -0.1,
        "lv": -0.1,
        "lt": start * 1000 + 5,
        "sk_k": [1073],
        "sk_n": [3],
        "ver": 1 << 40 | 17,
    }


async def test_inserting_again_changes_nothing(world: Any, windows: Any, hour_start: Any) -> None:
    """Step A5 hands every outbox entry over again, so an insert must be idempotent."""
    rows = windows(world.tenant, [hour_start(), hour_start() + 60], n=4)
    await world.shards.insert(0, [rows])
    await world.shards.insert(0, [rows])
    assert [row["n"] for row in await world.rows("m1", 0)] == [4, 4]


async def test_an_older_version_never_replaces_a_newer_one(
    world: Any, windows: Any, hour_start: Any
) -> None:
    """A fenced worker can only repeat older versions."""
    start = hour_start()
    await world.shards.insert(0, [windows(world.tenant, [start], n=9, ver=5)])
    await world.shards.insert(0, [windows(world.tenant, [start], n=2, ver=4)])
    assert [(row["n"], row["ver"]) for row in await world.rows("m1", 0)] == [(9, 5)]


async def test_the_highest_version_in_one_insert_is_read_and_rolled_up(
    world: Any, windows: Any, hour_start: Any
) -> None:
    """Rows of a backlog wait together, and several versions of one row may be among them."""
    start = hour_start()
    versions = [windows(world.tenant, [start], n=n, ver=n) for n in (3, 8, 5)]
    await world.shards.insert(0, versions)
    assert [(row["n"], row["ver"]) for row in await world.rows("m1", 0)] == [(8, 8)]
    await world.shards.roll_up(0, "h1", start)
    assert [row["n"] for row in await world.rows("h1", 0)] == [8]


async def test_incarnations_and_partitions_add_up(
    world: Any, windows: Any, hour_start: Any
) -> None:
    """A window reopened by a late record is a row of its own; queries add the rows."""
    start = hour_start()
    chunks = [
        windows(world.tenant, [start], n=1, inc=1),
        windows(world.tenant, [start], n=2, inc=2),
        windows(world.tenant, [start], n=4, inc=1, part=1),
    ]
    await world.shards.insert(0, chunks)
    assert sorted(row["n"] for row in await world.rows("m1", 0)) == [1, 2, 4]


async def test_chunks_with_different_dictionaries_go_in_one_insert(
    world: Any, windows: Any, hour_start: Any
) -> None:
    """Each chunk has its own name codes: the insert must not mix them."""
    start = hour_start()
    first = windows(world.tenant, [start])
    second = dataclasses.replace(first, models=["x", "m2"], model_code=np.array([1], np.int32))
    await world.shards.insert(0, [first, second])
    assert sorted(row["model"] for row in await world.rows("m1", 0)) == ["m", "m2"]


async def test_an_insert_may_span_hundreds_of_days(
    world: Any, windows: Any, hour_start: Any
) -> None:
    """A backlog of old windows touches more day partitions than ClickHouse accepts in one insert."""
    starts = [hour_start(days) for days in range(1, 29)]
    far = [start + i * 3600 for start in starts for i in range(8)]
    await world.shards.insert(0, [windows(world.tenant, far)])
    assert len(await world.rows("m1", 0)) == len(far)
    months = [hour_start(30 + 31 * i) for i in range(12)]
    await world.shards.insert(0, [windows(world.tenant, months, table="h1")])
    assert len(await world.rows("h1", 0)) == len(months)


async def test_shards_hold_only_their_own_rows(world: Any, windows: Any, hour_start: Any) -> None:
    """A row inserted into one shard is on that shard only."""
    await world.shards.insert(1, [windows(world.tenant, [hour_start()], shard=1)])
    assert await world.rows("m1", 0) == []
    assert len(await world.rows("m1", 1)) == 1


async def test_refused_rows_are_named_and_the_others_are_stored(
    world: Any, windows: Any, hour_start: Any
) -> None:
    """One bad row must not hold back the others, and its index must be exact over all chunks."""
    start = hour_start()
    names = [f"{world.tenant}"] * 5
    first = windows(world.tenant, [start + 60 * i for i in range(7)])
    mixed = [world.refused if i in {1, 4} else name for i, name in enumerate(names)]
    second = windows(mixed, [start + 600 + 60 * i for i in range(5)])
    distinct = list(dict.fromkeys(mixed))
    codes = np.array([distinct.index(name) for name in mixed], np.int32)
    second = dataclasses.replace(second, tenants=distinct, tenant_code=codes)
    with pytest.raises(RowsRefused) as caught:
        await world.shards.insert(0, [first, second])
    assert caught.value.indexes == [8, 11]
    assert caught.value.reason
    assert len(await world.rows("m1", 0)) == 10


async def test_a_fact_that_fits_no_column_is_refused_alone(world: Any, dead_letters: Any) -> None:
    """A wrong type in one dead letter must not hold back the others."""
    with pytest.raises(RowsRefused) as caught:
        await world.shards.insert(0, [dead_letters(world.tenant, [0, "one", 2])])
    assert caught.value.indexes == [1]
    assert sorted(row["part"] for row in await world.rows("dead_letters", 0)) == [0, 2]


async def test_a_disposition_replaces_its_dead_letter(world: Any, dead_letters: Any) -> None:
    """A dead letter has one row: that of its newest disposition."""
    await world.shards.insert(0, [dead_letters(world.tenant, [3])])
    replayed = dead_letters(world.tenant, [3], ver=2, disposition="replayed")
    await world.shards.insert(0, [replayed])
    (row,) = await world.rows("dead_letters", 0)
    assert (row["disposition"], row["ver"], row["ts"]) == ("replayed", 2, 1_700_000_000_123)


async def test_the_ledger_keeps_one_row_per_partition_and_epoch(world: Any) -> None:
    """Counters are cumulative: only the latest row counts."""
    for ver, read in ((1, 10), (2, 25)):
        columns = {
            "grp": [world.tenant],
            "topic": ["model.metrics"],
            "part": [1],
            "next_offset": [read + 1],
            "read": [read],
            "applied": [read - 1],
            "duplicates": [0],
            "dead": [1],
            "gaps": [1],
            "dead_by_code": [{"invalid_json": 1}],
            "ver": [ver],
            "epoch": [0],
        }
        await world.shards.insert(0, [FactRows(app.clickhouse_tables["ledger"], 0, columns)])
    (row,) = await world.rows("ledger", 0)
    assert (row["read"], row["dead_by_code"], row["ver"]) == (25, {"invalid_json": 1}, 2)


async def test_an_empty_insert_does_nothing(world: Any, windows: Any) -> None:
    """A batch may have no row for a shard."""
    await world.shards.insert(0, [])
    await world.shards.insert(0, [windows(world.tenant, [])])
    assert await world.rows("m1", 0) == []


async def test_concurrent_inserts_all_arrive(world: Any, windows: Any, hour_start: Any) -> None:
    """Partitions commit concurrently and share one pool."""
    start = hour_start()
    chunks = [windows(world.tenant, [start + 60 * i], inc=i + 1) for i in range(24)]
    await asyncio.gather(*(world.shards.insert(0, [chunk]) for chunk in chunks))
    assert len(await world.rows("m1", 0)) == 24


async def test_series_are_distributed_and_keep_their_shard(world: Any) -> None:
    """FINAL and roll-ups work per shard: all rows of a series must be on one."""
    names = [(f"t{i}", f"m{i % 7}", f"k{i % 3}") for i in range(200)]
    columns = tuple(zip(*names, strict=True))
    first = world.shards.maps[0].shard_of(*columns)
    assert set(first.tolist()) == set(range(world.shards.count))
    assert (world.shards.maps[0].shard_of(*columns) == first).all()
    keys = {world.shards.shard_of_key(f"group/topic/{i}") for i in range(50)}
    assert keys == set(range(world.shards.count))
