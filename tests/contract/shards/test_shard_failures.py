"""Failures that only a real server shows: refused connections and users, replicas, its hash
function."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest

from agents.app import app
from streams.connect.sinks import schema
from streams.connect.sinks.clickhouse import ClickHouseShards
from streams.core.clock import SystemClock
from streams.core.errors import PoolExhausted, ShardUnavailable
from streams.core.settings import Settings

pytestmark = pytest.mark.stack

PATIENCE_S = 200.0


async def test_a_dead_shard_is_unavailable_without_a_wait(
    tmp_path: Path, windows: Any, hour_start: Any
) -> None:
    """Its rows wait in the partition's state; the wait must not occupy a thread."""
    password = tmp_path / "password"
    password.write_text("x")
    settings = Settings(
        clickhouse_shards="http://127.0.0.1:1", clickhouse_password_file=str(password)
    )
    shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
    with pytest.raises(ShardUnavailable, match=r"127\.0\.0\.1:1"):
        await asyncio.wait_for(shards.insert(0, [windows("t", [hour_start()])]), PATIENCE_S)
    await shards.close()


class Intermediary:
    """A TCP proxy in front of a shard that passes everything but inserts: it cuts or swallows them."""

    def __init__(self, url: str, *, cut: bool) -> None:
        self._target = urlsplit(url)
        self._cut = cut
        self._tasks: set[asyncio.Task[None]] = set()
        self.inserts = 0
        self.arrived = asyncio.Event()
        self.released = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.released.set()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = await asyncio.open_connection(self._target.hostname, self._target.port)
        task = asyncio.ensure_future(_pump(target[0], writer))
        self._tasks.add(task)
        while data := await reader.read(1 << 16):
            if b"INSERT" in data:
                self.inserts += 1
                self.arrived.set()
                if not self._cut:
                    await self.released.wait()
                break
            target[1].write(data)
            await target[1].drain()
        target[1].close()
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


async def test_a_cut_insert_raises_and_is_not_resent(
    contract_settings: Settings, windows: Any, hour_start: Any
) -> None:
    """The client library would resend silently; the outbox decides when to retry."""
    first, second = contract_settings.clickhouse_shards.split(",")
    async with Intermediary(first, cut=True) as between:
        settings = dataclasses.replace(
            contract_settings, clickhouse_shards=f"{between.url},{second}"
        )
        shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
        with pytest.raises(ShardUnavailable):
            await shards.insert(0, [windows("cut", [hour_start()])])
        assert between.inserts == 1
        await shards.close()


async def test_a_silent_shard_exhausts_only_its_own_pool(
    contract_settings: Settings, windows: Any, hour_start: Any
) -> None:
    """One insert hangs until its deadline; the next one fails at once for want of a thread."""
    first, second = contract_settings.clickhouse_shards.split(",")
    async with Intermediary(first, cut=False) as between:
        settings = dataclasses.replace(
            contract_settings,
            clickhouse_shards=f"{between.url},{second}",
            sink_pool_size=1,
            sink_acquire_s=0.1,
            sink_timeout_s=2.0,
        )
        shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
        row = windows("silent", [hour_start()])
        hanging = asyncio.ensure_future(shards.insert(0, [row]))
        await between.arrived.wait()
        with pytest.raises(PoolExhausted):
            await shards.insert(0, [row])
        with pytest.raises(ShardUnavailable):
            await hanging
        await shards.close()


async def test_the_next_replica_is_used_when_one_fails(
    contract_settings: Settings, windows: Any, hour_start: Any
) -> None:
    """Replicas are tried in turn; the one that answered is tried first afterwards."""
    settings = dataclasses.replace(
        contract_settings,
        clickhouse_shards=f"http://127.0.0.1:1|{contract_settings.clickhouse_shards}",
        clickhouse_cluster="main",
    )
    shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
    for _ in range(2):
        await shards.insert(0, [windows("replica", [hour_start()])])
    await shards.close()
    server = schema.servers(contract_settings, app.clickhouse_tables)[0]
    sql = "SELECT count() FROM m1_local FINAL WHERE tenant = 'replica'"
    assert server.replica.query(sql)[1] == [(1,)]
    server.replica.close()


async def test_a_wrong_password_error_names_the_settings(
    contract_settings: Settings, tmp_path: Path, windows: Any, hour_start: Any
) -> None:
    """The shard counts as unavailable: rows wait, and the message names the reason."""
    password = tmp_path / "password"
    password.write_text("wrong")
    settings = dataclasses.replace(contract_settings, clickhouse_password_file=str(password))
    shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
    with pytest.raises(ShardUnavailable, match="DIA_CLICKHOUSE_PASSWORD_FILE"):
        await shards.insert(0, [windows("t", [hour_start()])])
    await shards.close()


async def test_the_shard_hash_equals_clickhouses(contract_settings: Settings) -> None:
    """A Distributed table over the same servers must find a series on the shard that we chose."""
    words = ["", "a", "tenant-1", "ünï", "x" * 128, "nul\0inside"]
    names = list(itertools.product(words, words, ["k", "latency_ms"]))
    columns = tuple(zip(*names, strict=True))
    server = schema.servers(contract_settings, app.clickhouse_tables)[0]
    for shards in (1, 2, 3, 7, 64, 1000):
        ours = ClickHouseShards.from_settings(
            dataclasses.replace(
                contract_settings, clickhouse_shards=",".join(["http://127.0.0.1:1"] * shards)
            ),
            SystemClock(),
            app.clickhouse_tables,
        )
        values = ", ".join(f"({_literal(t)}, {_literal(m)}, {_literal(k)})" for t, m, k in names)
        _, rows = server.replica.query(
            f"SELECT jumpConsistentHash(xxHash64(concat(t, '\\0', m, '\\0', k)), {shards}) "
            f"FROM values('t String, m String, k String', {values})"
        )
        assert ours.maps[0].shard_of(*columns).tolist() == [row[0] for row in rows]
        await ours.close()
    server.replica.close()


def _literal(text: str) -> str:
    return "'" + text.replace("\0", "\\0") + "'"
