"""What only a real server can show: refused connections and users, replicas, its own hash."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from streams.clock import SystemClock
from streams.errors import ShardUnavailable
from streams.settings import Settings
from streams.sinks import schema
from streams.sinks.clickhouse import ClickHouseShards

pytestmark = pytest.mark.stack

PATIENCE_S = 10.0


async def test_a_dead_shard_is_unavailable_at_once(
    tmp_path: Path, windows: Any, hour_start: Any
) -> None:
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


async def test_the_next_replica_takes_over(
    contract_settings: Settings, windows: Any, hour_start: Any
) -> None:
    """Replicas are tried in turn, and the one that answered is asked first from then on."""
    live = contract_settings.clickhouse_shards.split(",")[0]
    settings = dataclasses.replace(
        contract_settings, clickhouse_shards=f"http://127.0.0.1:1|{live}"
    )
    shards = ClickHouseShards.from_settings(settings, SystemClock())
    for _ in range(2):
        await shards.insert(0, [windows("replica", [hour_start()])])
    await shards.close()


async def test_a_wrong_password_names_the_settings(
    contract_settings: Settings, tmp_path: Path, windows: Any, hour_start: Any
) -> None:
    """A shard that refuses its user is down for us: rows wait, and the message says why."""
    password = tmp_path / "password"
    password.write_text("wrong")
    settings = dataclasses.replace(contract_settings, clickhouse_password_file=str(password))
    shards = ClickHouseShards.from_settings(settings, SystemClock())
    with pytest.raises(ShardUnavailable, match="DIA_CLICKHOUSE_PASSWORD_FILE"):
        await shards.insert(0, [windows("t", [hour_start()])])
    await shards.close()


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
