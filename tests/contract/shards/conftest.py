"""The shard sets of the contract tests, and builders of rows for them."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pytest

from agents.app import app
from streams.connect.sinks import schema
from streams.connect.sinks.clickhouse import ClickHouseShards
from streams.connect.sinks.memory import MemoryShards
from streams.connect.sinks.sharding import HashSharding, ShardMap
from streams.connect.sinks.view_source import WINDOWS
from streams.core.clock import SystemClock
from streams.core.rows.built_in_tables import FactRows, ShardSet, WindowRows
from streams.core.settings import Settings
from streams.dev.local.stack import StackStatus

DAY_S = 86_400
REFUSED = "refused-tenant"


class World(Protocol):
    """A shard set, and reads of what its shards hold."""

    shards: ShardSet
    tenant: str
    refused: str
    """A tenant whose minute rows every shard refuses."""

    async def rows(self, table: str, shard: int) -> list[dict[str, Any]]: ...

    def with_shards(self, count: int) -> ShardSet:
        """The same servers, as a process with ``count`` configured shards connects to them."""
        ...


class MemoryWorld:
    """In-memory shards that refuse what the real ones are configured to refuse."""

    def __init__(self) -> None:
        self.shards = MemoryShards(2, SystemClock(), tables=app.clickhouse_tables)
        self.tenant = "t"
        self.refused = REFUSED
        for faults in self.shards.faults:
            faults.refuse = _unfit

    async def rows(self, table: str, shard: int) -> list[dict[str, Any]]:
        return self.shards.rows(table, shard)

    def with_shards(self, count: int) -> ShardSet:
        return self.shards.with_map(ShardMap(count, HashSharding(count)))


def _unfit(table: str, row: dict[str, Any]) -> bool:
    if table == "dead_letters":
        return not isinstance(row["part"], int)
    return row.get("tenant") == REFUSED


class ClickHouseWorld:
    """Real shards; every test has its own tenant."""

    def __init__(self, settings: Settings) -> None:
        self.shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
        self.refused = REFUSED
        self.tenant = f"t-{uuid.uuid4().hex[:8]}"
        self._settings = settings
        self._others: list[ClickHouseShards] = []
        self._servers = schema.servers(settings, app.clickhouse_tables)

    async def rows(self, table: str, shard: int) -> list[dict[str, Any]]:
        types = WINDOWS.get(table) or self.shards.tables[table].types
        columns = [
            f"toUnixTimestamp{'64Milli' if 'DateTime64' in kind else ''}({name})"
            if kind.startswith("DateTime")
            else name
            for name, kind in ((name, str(kind)) for name, kind in types.items())
        ]
        sql = f"SELECT {', '.join(columns)} FROM {table}_local FINAL"
        _, rows = await asyncio.to_thread(self._servers[shard].replica.query, sql)
        found = [dict(zip(types, row, strict=True)) for row in rows]
        return [row for row in found if self.tenant in {row.get("tenant"), row.get("grp")}]

    def with_shards(self, count: int) -> ShardSet:
        urls = [*self._settings.clickhouse_shards.split(","), "http://127.0.0.1:1"][:count]
        other = dataclasses.replace(self._settings, clickhouse_shards=",".join(urls))
        self._others.append(
            ClickHouseShards.from_settings(other, SystemClock(), app.clickhouse_tables)
        )
        return self._others[-1]

    async def close(self) -> None:
        for other in self._others:
            await other.close()
        await self.shards.close()
        for server in self._servers:
            server.replica.close()


@pytest.fixture(scope="session")
def contract_settings(request: pytest.FixtureRequest) -> Iterator[Settings]:
    """A database of this suite on the session's shards, whose m1 table refuses one tenant."""
    stack: StackStatus = request.getfixturevalue("stack")
    settings = Settings(
        clickhouse_shards=",".join(stack.shards),
        clickhouse_user=stack.clickhouse_user,
        clickhouse_password_file=str(stack.clickhouse_password_file),
        clickhouse_database="shard_contract",
    )
    servers = schema.servers(settings, app.clickhouse_tables)
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


def _windows(
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
    """One row per tenant and start in ``starts``, each of n times the value ``value``."""
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
        mean=np.full(count, value),
        m2=np.zeros(count),
        lo=np.full(count, value),
        hi=np.full(count, value),
        lv=np.full(count, value) + np.arange(count),
        lt=np.array(starts, np.int64) * 1000 + 5,
        sk_off=np.arange(count + 1, dtype=np.int32),
        sk_k=np.full(count, 1073, np.int16),
        sk_n=counts.astype(np.uint32),
        ver=np.full(count, ver, np.uint64) if isinstance(ver, int) else np.array(ver, np.uint64),
    )


@pytest.fixture(scope="session")
def windows() -> Any:
    """Builder of window rows."""
    return _windows


def _dead_letters(tenant: str, parts: Sequence[Any], *, ver: int = 1, disposition: str = "") -> Any:
    """Dead letters of one tenant, one per value of ``part``."""
    count = len(parts)
    return FactRows(
        app.clickhouse_tables["dead_letters"],
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


@pytest.fixture(scope="session")
def dead_letters() -> Any:
    """Builder of dead letters."""
    return _dead_letters


def _hour_start(days_back: int = 1) -> int:
    """The start of a past hour whose rows do not expire during a test."""
    now_s = SystemClock().now_ms() // 1000
    return now_s // DAY_S * DAY_S - days_back * DAY_S + 3600


@pytest.fixture(scope="session")
def hour_start() -> Any:
    """The start of a past hour."""
    return _hour_start
