"""What every `ShardSet` promises, on `MemoryShards` and on real ClickHouse alike."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest

from streams.clock import SystemClock
from streams.errors import RollUpExpired, ShardUnavailable
from streams.local.stack import StackStatus
from streams.rows import FactRows, RowsRefused, ShardSet, WindowRows
from streams.settings import Settings
from streams.sinks import schema
from streams.sinks.clickhouse import ClickHouseShards
from streams.sinks.memory import MemoryShards
from streams.sinks.view_source import COLUMNS

DAY_S = 86_400
REFUSED = "refused-tenant"
PATIENCE_S = 10.0


class World(Protocol):
    """A shard set, and eyes to see what its shards hold."""

    shards: ShardSet
    tenant: str

    async def rows(self, table: str, shard: int) -> list[dict[str, Any]]: ...


class MemoryWorld:
    """In-memory shards that refuse what the real ones are made to refuse."""

    def __init__(self) -> None:
        self.shards = MemoryShards(2, SystemClock())
        self.tenant = "t"
        for faults in self.shards.faults:
            faults.refuse = _unfit

    async def rows(self, table: str, shard: int) -> list[dict[str, Any]]:
        return self.shards.rows(table, shard)


def _unfit(table: str, row: dict[str, Any]) -> bool:
    if table == "dead_letters":
        return not isinstance(row["part"], int)
    return row.get("tenant") == REFUSED


class ClickHouseWorld:
    """Real shards; every test has a tenant of its own."""

    def __init__(self, settings: Settings) -> None:
        self.shards = ClickHouseShards.from_settings(settings, SystemClock())
        self.tenant = f"t-{uuid.uuid4().hex[:8]}"
        self._servers = schema.servers(settings)

    async def rows(self, table: str, shard: int) -> list[dict[str, Any]]:
        columns = [
            f"toUnixTimestamp{'64Milli' if 'DateTime64' in kind else ''}({name})"
            if kind.startswith("DateTime")
            else name
            for name, kind in COLUMNS[table].items()
        ]
        sql = f"SELECT {', '.join(columns)} FROM {table}_local FINAL"
        _, rows = await asyncio.to_thread(self._servers[shard].replica.query, sql)
        found = [dict(zip(COLUMNS[table], row, strict=True)) for row in rows]
        return [row for row in found if self.tenant in {row.get("tenant"), row.get("grp")}]

    async def close(self) -> None:
        await self.shards.close()
        for server in self._servers:
            server.replica.close()


@pytest.fixture(scope="session")
def contract_settings(request: pytest.FixtureRequest) -> Iterator[Settings]:
    """A database of this suite's own on the session's shards, whose m1 refuses one tenant."""
    stack: StackStatus = request.getfixturevalue("stack")
    settings = Settings(
        clickhouse_shards=",".join(stack.shards),
        clickhouse_user=stack.clickhouse_user,
        clickhouse_password_file=str(stack.clickhouse_password_file),
        clickhouse_database="shard_contract",
    )
    servers = schema.servers(settings)
    for server in servers:
        server.migrator.apply()
        server.replica.command(
            "ALTER TABLE m1_local ADD CONSTRAINT IF NOT EXISTS refusing "
            f"CHECK tenant != '{REFUSED}'"
        )
    yield settings
    for server in servers:
        server.replica.command("DROP DATABASE shard_contract")
        server.replica.close()


@pytest.fixture(params=["memory", pytest.param("clickhouse", marks=pytest.mark.stack)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Each kind of shard set in turn."""
    if request.param == "memory":
        yield MemoryWorld()
        return
    settings = request.getfixturevalue("contract_settings")
    real = ClickHouseWorld(settings)
    yield real
    await real.close()


def hour_start(days_back: int = 1) -> int:
    """An hour that is over, so that nothing of it expires while a test runs."""
    now_s = SystemClock().now_ms() // 1000
    return now_s // DAY_S * DAY_S - days_back * DAY_S + 3600


def windows(
    tenant: str | Sequence[str],
    starts: Sequence[int],
    *,
    table: Any = "m1",
    shard: int = 0,
    ver: int | Sequence[int] = 1,
    n: int | Sequence[int] = 1,
    inc: int = 1,
    part: int = 0,
    value: float = 2.0,
) -> WindowRows:
    """Rows of one series per tenant whose windows start at ``starts``; n values of ``value``."""
    count = len(starts)
    tenants = [tenant] if isinstance(tenant, str) else list(tenant)
    counts = np.full(count, n, np.uint64) if isinstance(n, int) else np.array(n, np.uint64)
    zeros = np.zeros(count, np.int32)
    return WindowRows(
        table=table,
        shard=shard,
        part=part,
        tenants=tenants,
        models=["m"],
        metrics=["k"],
        tenant_code=np.arange(count, dtype=np.int32) if len(tenants) > 1 else zeros,
        model_code=zeros,
        metric_code=zeros,
        w=np.array(starts, np.uint32),
        inc=np.full(count, inc, np.uint64),
        n=counts,
        s1=counts * value,
        s2=counts * value * value,
        lo=np.full(count, value),
        hi=np.full(count, value),
        lv=np.full(count, value) + np.arange(count),
        lt=np.array(starts, np.int64) * 1000 + 5,
        sk_off=np.arange(count + 1, dtype=np.int32),
        sk_k=np.full(count, 1073, np.int16),
        sk_n=counts.astype(np.uint32),
        ver=np.full(count, ver, np.uint64) if isinstance(ver, int) else np.array(ver, np.uint64),
    )


def dead_letters(tenant: str, parts: Sequence[Any], *, ver: int = 1, disposition: str = "") -> Any:
    """Dead letters of one tenant, one per value of ``part``."""
    count = len(parts)
    return FactRows(
        "dead_letters",
        0,
        {
            "id": [f"{tenant}/{part}" for part in parts],
            "topic": ["model.metrics"] * count,
            "part": list(parts),
            "off": [7] * count,
            "ts": [1_700_000_000_123] * count,
            "error_code": ["invalid_json"] * count,
            "error_message": ["line 1"] * count,
            "stage": ["decode"] * count,
            "agent": ["a"] * count,
            "tenant": [tenant] * count,
            "hops": [0] * count,
            "disposition": [disposition] * count,
            "actor": [""] * count,
            "ver": [ver] * count,
        },
    )


async def test_a_row_comes_back_as_it_went_in(world: World) -> None:
    """Every column, exactly: the view's readers see what the fold counted."""
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
        "lo": -0.1,
        "hi": -0.1,
        "lv": -0.1,
        "lt": start * 1000 + 5,
        "sk_k": [1073],
        "sk_n": [3],
        "ver": 1 << 40 | 17,
    }


async def test_inserting_again_changes_nothing(world: World) -> None:
    """A5 hands every outbox entry over again; that must be harmless."""
    rows = windows(world.tenant, [hour_start(), hour_start() + 60], n=4)
    await world.shards.insert(0, [rows])
    await world.shards.insert(0, [rows])
    assert [row["n"] for row in await world.rows("m1", 0)] == [4, 4]


async def test_an_older_version_never_replaces_a_newer_one(world: World) -> None:
    """A zombie can only repeat older truths."""
    start = hour_start()
    await world.shards.insert(0, [windows(world.tenant, [start], n=9, ver=5)])
    await world.shards.insert(0, [windows(world.tenant, [start], n=2, ver=4)])
    assert [(row["n"], row["ver"]) for row in await world.rows("m1", 0)] == [(9, 5)]


async def test_incarnations_and_partitions_add_up(world: World) -> None:
    """A window reopened by a late record is a row of its own; queries add them."""
    start = hour_start()
    chunks = [
        windows(world.tenant, [start], n=1, inc=1),
        windows(world.tenant, [start], n=2, inc=2),
        windows(world.tenant, [start], n=4, inc=1, part=1),
    ]
    await world.shards.insert(0, chunks)
    assert sorted(row["n"] for row in await world.rows("m1", 0)) == [1, 2, 4]


async def test_chunks_with_different_names_go_in_one_insert(world: World) -> None:
    """Each chunk has its own name codes; they must not be mixed up."""
    start = hour_start()
    first = windows(world.tenant, [start])
    second = dataclasses.replace(first, models=["x", "m2"], model_code=np.array([1], np.int32))
    await world.shards.insert(0, [first, second])
    assert sorted(row["model"] for row in await world.rows("m1", 0)) == ["m", "m2"]


async def test_an_insert_may_span_hundreds_of_days(world: World) -> None:
    """A backlog of old windows touches more day partitions than ClickHouse takes at once."""
    starts = [hour_start(days) for days in range(1, 29)]
    far = [start + i * 3600 for start in starts for i in range(8)]
    await world.shards.insert(0, [windows(world.tenant, far)])
    assert len(await world.rows("m1", 0)) == len(far)
    months = [hour_start(30 + 31 * i) for i in range(12)]
    await world.shards.insert(0, [windows(world.tenant, months, table="h1")])
    assert len(await world.rows("h1", 0)) == len(months)


async def test_shards_are_apart(world: World) -> None:
    """A row given to one shard is on that shard only."""
    await world.shards.insert(1, [windows(world.tenant, [hour_start()], shard=1)])
    assert await world.rows("m1", 0) == []
    assert len(await world.rows("m1", 1)) == 1


async def test_refused_rows_are_named_and_the_others_stored(world: World) -> None:
    """One bad row must cost itself only, and its index must be exact over all chunks."""
    start = hour_start()
    names = [f"{world.tenant}"] * 5
    first = windows(world.tenant, [start + 60 * i for i in range(7)])
    mixed = [REFUSED if i in {1, 4} else name for i, name in enumerate(names)]
    second = windows(mixed, [start + 600 + 60 * i for i in range(5)])
    distinct = list(dict.fromkeys(mixed))
    codes = np.array([distinct.index(name) for name in mixed], np.int32)
    second = dataclasses.replace(second, tenants=distinct, tenant_code=codes)
    with pytest.raises(RowsRefused) as caught:
        await world.shards.insert(0, [first, second])
    assert caught.value.indexes == [8, 11]
    assert caught.value.reason
    assert len(await world.rows("m1", 0)) == 10


async def test_a_fact_that_fits_no_column_is_refused_alone(world: World) -> None:
    """A wrong type in one dead letter must not hold back the others."""
    with pytest.raises(RowsRefused) as caught:
        await world.shards.insert(0, [dead_letters(world.tenant, [0, "one", 2])])
    assert caught.value.indexes == [1]
    assert sorted(row["part"] for row in await world.rows("dead_letters", 0)) == [0, 2]


async def test_a_disposition_replaces_its_dead_letter(world: World) -> None:
    """One dead letter, one row: the newest disposition."""
    await world.shards.insert(0, [dead_letters(world.tenant, [3])])
    replayed = dead_letters(world.tenant, [3], ver=2, disposition="replayed")
    await world.shards.insert(0, [replayed])
    (row,) = await world.rows("dead_letters", 0)
    assert (row["disposition"], row["ver"], row["ts"]) == ("replayed", 2, 1_700_000_000_123)


async def test_the_ledger_keeps_one_row_per_partition(world: World) -> None:
    """Counters are cumulative: only the latest counts."""
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
        }
        await world.shards.insert(0, [FactRows("ledger", 0, columns)])
    (row,) = await world.rows("ledger", 0)
    assert (row["read"], row["dead_by_code"], row["ver"]) == (25, {"invalid_json": 1}, 2)


async def test_an_empty_insert_is_nothing(world: World) -> None:
    """A batch may have no row for a shard."""
    await world.shards.insert(0, [])
    await world.shards.insert(0, [windows(world.tenant, [])])
    assert await world.rows("m1", 0) == []


async def test_an_hour_is_the_sum_of_its_minutes(world: World) -> None:
    """The latest version of each incarnation, all incarnations, and no neighbour."""
    start = hour_start()
    await world.shards.insert(0, [windows(world.tenant, [start], n=1, ver=3, part=1)])
    inside = windows(world.tenant, [start + 60 * i for i in range(60)], n=2, ver=7, value=4.0)
    outside = windows(world.tenant, [start - 60, start + 3600], n=100, value=9.0)
    await world.shards.insert(0, [inside, outside])
    await world.shards.insert(0, [windows(world.tenant, [start], n=1, ver=6)])
    await world.shards.roll_up(0, "h1", start)
    (row,) = await world.rows("h1", 0)
    assert (row["w"], row["part"], row["inc"], row["n"]) == (start, 0, 0, 121)
    assert (row["s1"], row["s2"], row["lo"], row["hi"]) == (482.0, 1924.0, 2.0, 4.0)
    assert (row["lv"], row["lt"]) == (63.0, (start + 59 * 60) * 1000 + 5)
    assert (row["sk_k"], row["sk_n"], row["ver"]) == ([1073], [121], 60 * 7 + 3)


async def test_a_day_follows_late_minutes(world: World) -> None:
    """Recomputing after a late row replaces the day; recomputing again changes nothing."""
    start = hour_start(2) - 3600
    await world.shards.insert(0, [windows(world.tenant, [start, start + DAY_S - 60], n=5)])
    await world.shards.roll_up(0, "d1", start)
    await world.shards.insert(0, [windows(world.tenant, [start + 600], n=1, inc=2)])
    for _ in range(2):
        await world.shards.roll_up(0, "d1", start)
    assert [(row["n"], row["ver"]) for row in await world.rows("d1", 0)] == [(11, 3)]


async def test_an_old_window_stays_beside_the_recomputed_hour(world: World) -> None:
    """A window too old for m1 goes to h1 under its own key; the sum of both is the truth."""
    start = hour_start()
    await world.shards.insert(0, [windows(world.tenant, [start], n=5)])
    await world.shards.roll_up(0, "h1", start)
    await world.shards.insert(0, [windows(world.tenant, [start], table="h1", n=2, inc=77)])
    assert sorted(row["n"] for row in await world.rows("h1", 0)) == [2, 5]


async def test_an_hour_whose_minutes_expire_is_refused(world: World) -> None:
    """Recomputing it would shrink what is stored."""
    with pytest.raises(RollUpExpired):
        await world.shards.roll_up(0, "h1", hour_start(31))


async def test_many_inserts_at_once_all_arrive(world: World) -> None:
    """Partitions commit side by side and share one pool."""
    start = hour_start()
    chunks = [windows(world.tenant, [start + 60 * i], inc=i + 1) for i in range(24)]
    await asyncio.gather(*(world.shards.insert(0, [chunk]) for chunk in chunks))
    assert len(await world.rows("m1", 0)) == 24


async def test_series_are_spread_and_stay_where_they_are(world: World) -> None:
    """FINAL and roll-ups are per shard: a series must always meet itself."""
    names = [(f"t{i}", f"m{i % 7}", f"k{i % 3}") for i in range(200)]
    columns = tuple(zip(*names, strict=True))
    first = world.shards.shard_of(*columns)
    assert set(first.tolist()) == set(range(world.shards.count))
    assert (world.shards.shard_of(*columns) == first).all()
    keys = {world.shards.shard_of_key(f"group/topic/{i}") for i in range(50)}
    assert keys == set(range(world.shards.count))


@pytest.mark.stack
async def test_a_dead_shard_is_unavailable_at_once(tmp_path: Path) -> None:
    """Its windows must wait in the state, and the waiting must not hold a thread."""
    password = tmp_path / "password"
    password.write_text("x")
    settings = Settings(
        clickhouse_shards="http://127.0.0.1:1", clickhouse_password_file=str(password)
    )
    shards = ClickHouseShards.from_settings(settings, SystemClock())
    with pytest.raises(ShardUnavailable, match=r"127\.0\.0\.1:1"):
        await asyncio.wait_for(shards.insert(0, [windows("t", [hour_start()])]), PATIENCE_S)
    await shards.close()


@pytest.mark.stack
async def test_the_next_replica_takes_over(contract_settings: Settings) -> None:
    """Replicas are tried in turn, and the one that answered is asked first from then on."""
    live = contract_settings.clickhouse_shards.split(",")[0]
    settings = dataclasses.replace(
        contract_settings, clickhouse_shards=f"http://127.0.0.1:1|{live}"
    )
    shards = ClickHouseShards.from_settings(settings, SystemClock())
    for _ in range(2):
        await shards.insert(0, [windows("replica", [hour_start()])])
    await shards.close()


@pytest.mark.stack
async def test_a_wrong_password_names_the_settings(
    contract_settings: Settings, tmp_path: Path
) -> None:
    """A shard that refuses its user is down for us: rows wait, and the message says why."""
    password = tmp_path / "password"
    password.write_text("wrong")
    settings = dataclasses.replace(contract_settings, clickhouse_password_file=str(password))
    shards = ClickHouseShards.from_settings(settings, SystemClock())
    with pytest.raises(ShardUnavailable, match="DIA_CLICKHOUSE_PASSWORD_FILE"):
        await shards.insert(0, [windows("t", [hour_start()])])
    await shards.close()


@pytest.mark.stack
async def test_the_hash_is_clickhouses_own(contract_settings: Settings) -> None:
    """A Distributed table over the same servers must look for a series where we put it."""
    words = ["", "a", "tenant-1", "ünï", "x" * 128, "nul\0inside"]
    names = list(itertools.product(words, words, ["k", "latency_ms"]))
    columns = tuple(zip(*names, strict=True))
    server = schema.servers(contract_settings)[0]
    for shards in (1, 2, 3, 7, 64, 1000):
        ours = ClickHouseShards.from_settings(
            dataclasses.replace(
                contract_settings, clickhouse_shards=",".join(["http://127.0.0.1:1"] * shards)
            ),
            SystemClock(),
        )
        values = ", ".join(f"({_literal(t)}, {_literal(m)}, {_literal(k)})" for t, m, k in names)
        _, rows = server.replica.query(
            f"SELECT jumpConsistentHash(xxHash64(concat(t, '\\0', m, '\\0', k)), {shards}) "
            f"FROM values('t String, m String, k String', {values})"
        )
        assert ours.shard_of(*columns).tolist() == [row[0] for row in rows]
        await ours.close()
    server.replica.close()


def _literal(text: str) -> str:
    return "'" + text.replace("\0", "\\0") + "'"
