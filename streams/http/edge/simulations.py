"""Results of simulations, read from the shard of their key."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from streams.connect.sinks.fact_shards import FactShards
from streams.connect.sinks.replica import Replica
from streams.core.clock import SystemClock
from streams.core.settings import Settings

ANSWER_TIMEOUT_S = 5.0
RESULTS_MAX = 100

COLUMNS = (
    "request_id", "model", "scenario", "priority", "trials", "status", "repeated",
    "error_code", "error_message", "summary", "requested", "started", "finished",
)  # fmt: skip

_SQL = f"""
SELECT {", ".join(COLUMNS)}
FROM simulations_local FINAL
WHERE tenant = {{tenant:String}} AND idempotency_key = {{key:String}}
ORDER BY requested, part, off
LIMIT {RESULTS_MAX}
"""  # noqa: S608 - our own names; what a client says is a parameter


class Simulations:
    """Queries replicas in turn. One instance a process; it keeps its connections."""

    def __init__(self, settings: Settings) -> None:
        impatient = replace(settings, sink_timeout_s=ANSWER_TIMEOUT_S)
        self._shards = FactShards(impatient, SystemClock())

    async def results(self, tenant: str, key: str) -> list[dict[str, Any]]:
        """Oldest first. Raises `ShardUnavailable` and `ShardMapChanged`."""
        group = await self._shards.of_key(f"{tenant}\0{key}")
        work = partial(_results, {"tenant": tenant, "key": key})
        return await asyncio.to_thread(group.ask, work)

    def close(self) -> None:
        self._shards.close()


def _results(parameters: dict[str, Any], replica: Replica) -> list[dict[str, Any]]:
    _, rows = replica.query(_SQL, parameters)
    return [_result(dict(zip(COLUMNS, row, strict=True))) for row in rows]


def _result(row: dict[str, Any]) -> dict[str, Any]:
    code, message = row.pop("error_code"), row.pop("error_message")
    times = {name: _ms(row.pop(name)) for name in ("requested", "started", "finished")}
    return {
        **row,
        "repeated": bool(row["repeated"]),
        "summary": json.loads(row["summary"] or "{}"),
        "error": {"code": code, "message": message} if code else None,
        **{f"{name}_ts": at for name, at in times.items()},
    }


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
