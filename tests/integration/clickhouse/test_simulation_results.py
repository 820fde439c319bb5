"""Simulation results, read as the edge reads them, from the shard of their key."""

from __future__ import annotations

import pytest

from agents.app import app
from streams.connect.sinks.clickhouse import ClickHouseShards
from streams.core.clock import SystemClock
from streams.core.errors import ShardUnavailable
from streams.core.settings import Settings
from streams.engine.runtime.effects import effects
from streams.http.edge.simulations import Simulations

AT_MS = SystemClock().now_ms()
"""The current time: older rows would expire while they are read."""


def _row(tenant: str, key: str, request: str, off: int, **changes: object) -> dict[str, object]:
    row = {
        "tenant": tenant, "idempotency_key": key, "request_id": request, "model": "m",
        "policy": "", "scenario": "monte_carlo", "priority": 5, "trials": 1000,
        "status": "completed", "repeated": 0, "error_code": "", "error_message": "",
        "summary": '{"mean": 1.25}', "requested": AT_MS + off, "started": AT_MS + off + 1,
        "finished": AT_MS + off + 7, "part": 0, "off": off, "ver": 1, "at": AT_MS,
    }  # fmt: skip
    return {**row, **changes}


async def _store(settings: Settings, rows: list[dict[str, object]]) -> None:
    """Store results as the pipeline does: encoded by the outbox, each row on the shard of its key."""
    shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
    for key, value in effects.facts(1, "simulations", rows):
        for part in effects.fact_rows(shards.tables, key, value, shards.shard_of_key):
            await shards.insert(part.shard, [part])
    await shards.close()


async def test_a_key_is_found_on_its_shard_and_only_for_its_tenant(settings):
    """Keys of one tenant are on both shards; another tenant's result with the same key is not
    returned."""
    keys = [f"key-{n}" for n in range(12)]
    refused = {
        "status": "rejected", "summary": "{}", "error_code": "policy_rejected",
        "error_message": "not allowed",
    }  # fmt: skip
    rows = [_row("acme", key, f"r-{key}", n) for n, key in enumerate(keys)]
    rows += [_row("acme", "key-0", "again", 50, repeated=1)]
    rows += [_row("other", "key-0", "theirs", 60, **refused)]
    await _store(settings, rows)
    # A second delivery of a row changes nothing.
    await _store(settings, rows[:1])
    results = Simulations(settings)
    try:
        for n, key in enumerate(keys[1:], 1):
            (found,) = await results.results("acme", key)
            assert (found["request_id"], found["requested_ts"]) == (f"r-{key}", AT_MS + n)
            assert (found["summary"], found["error"]) == ({"mean": 1.25}, None)
        first = await results.results("acme", "key-0")
        assert [(found["request_id"], found["repeated"]) for found in first] == [
            ("r-key-0", False),
            ("again", True),
        ]
        (theirs,) = await results.results("other", "key-0")
        assert theirs["error"] == {"code": "policy_rejected", "message": "not allowed"}
        assert await results.results("nobody", "key-0") == []
        assert await results.results("acme", "'; DROP TABLE m1 --") == []
    finally:
        results.close()


async def test_an_unreachable_shard_is_not_a_missing_result(settings):
    """With 404 the client would request the simulation again."""
    away = Simulations(Settings(clickhouse_shards="http://127.0.0.1:1"))
    with pytest.raises(ShardUnavailable):
        await away.results("acme", "key-0")
    away.close()
