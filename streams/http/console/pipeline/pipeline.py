"""GET /api/pipeline: agents and partitions, with owners, state sizes and counters."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.tokens import Role
from streams.connect.cache.kind import SERIES
from streams.core.errors import TransientError
from streams.engine.agents.job_agent import Agent
from streams.engine.health.live_workers import pipeline_settled
from streams.engine.health.monitor import HealthMonitor
from streams.engine.health.rule import Health
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer, Principal
from streams.http.console.pipeline.busy import BusyShares
from streams.http.console.pipeline.log_files import log_file
from streams.http.console.pipeline.workers import Workers, WorkerSamples
from streams.http.console.response_cache import QueryKey, ResponseCache
from streams.http.console.shards import Rows, ShardReader

_LEDGER = """
SELECT grp, topic, part, epoch, next_offset, read, applied, duplicates, dead, shed, gaps,
    toUnixTimestamp64Milli(at)
FROM ledger_local FINAL
"""
_FIELDS = ("next_offset", "read", "applied", "duplicates", "dead", "shed", "gaps", "at_ms")
_GAUGES = {
    "event_time_lag_s": "event_time_lag_seconds",
    "state_bytes": "state_bytes",
    "live_windows": "live_windows",
    "unacked_rows": "unacked_rows",
    "restored_records": "restore_records_total",
    "changelog_live_bytes": "changelog_live_bytes",
    "changelog_log_bytes": "changelog_log_bytes",
}


@dataclass(eq=False)
class PipelineHandler:
    """Counters cover every tenant, so a bound token gets none."""

    _gate: Authorizer
    _shards: ShardReader
    _answers: ResponseCache
    _workers: Workers
    _agents: Sequence[Agent]
    _health: HealthMonitor
    _busy: BusyShares

    async def show(self, request: Request) -> Response:
        return reply.json(request, await self.read(self._gate.holder(request, Role.ADMIN)))

    async def read(self, holder: Principal) -> bytes:
        """The response of `show`, for pages."""
        holder.require_everyone()
        return await self._answers.told(QueryKey(SERIES, "", ("pipeline",)), self._load)

    async def _load(self) -> dict[str, Any]:
        """Owners and lag do not need ClickHouse: without it, only the ledger is unknown."""
        try:
            ledger = _newest(await self._shards.of_all(_LEDGER, {}))
        except TransientError:
            ledger = None
        survey, health = await asyncio.gather(self._workers.survey(), self._health.read())
        return {
            "degraded": ledger is None,
            "ledger_known": ledger is not None,
            "verdict": health.verdict.word,
            "lag_records": health.lag_records,
            "settled": pipeline_settled(survey.workers),
            "agents": [_agent(agent) for agent in self._agents],
            "workers": [
                {
                    "slot": str(worker.slot),
                    "pid": worker.pid,
                    "http_port": worker.http_port,
                    "ready": worker.ready,
                    "settled": worker.settled,
                    "partitions": len(worker.partitions),
                    "busy": self._busy.of(str(worker.slot)),
                    "log": log_file(worker),
                }
                for worker in survey.workers
            ],
            "partitions": _partitions(survey, ledger or {}, health),
        }


def _agent(agent: Agent) -> dict[str, Any]:
    return {
        "name": agent.name,
        "topic": agent.source.name,
        "group": agent.group,
        "tables": [table.name for table in agent.tables],
        "partitions": agent.source.partitions,
    }


_Place = tuple[str, str, int]


def _newest(rows: Rows) -> dict[_Place, dict[str, Any]]:
    """The ledger row of the highest epoch of each partition; ``balanced``: its counters add up."""
    found: dict[_Place, dict[str, Any]] = {}
    for group, topic, partition, epoch, *numbers in sorted(map(tuple, rows)):
        row = dict(zip(_FIELDS, numbers, strict=True))
        accounted = row["applied"] + row["duplicates"] + row["dead"] + row["shed"]
        balanced = row["read"] == accounted
        found[group, topic, partition] = {"epoch": epoch, **row, "balanced": balanced}
    return found


def _partitions(
    survey: WorkerSamples, ledger: dict[_Place, dict[str, Any]], health: Health
) -> list[dict[str, Any]]:
    """Every partition that is declared, owned, or in a ledger. ``owner`` is a known worker,
    ``member`` the owner by the broker's name."""
    held = {
        (one["group"], one["topic"], one["partition"]): (str(worker.slot), one)
        for worker in survey.workers
        for one in worker.partitions
    }
    declared = {(one["group"], one["topic"], one["partition"]): one for one in health.partitions}
    found = []
    for place in sorted(held.keys() | ledger.keys() | declared.keys()):
        owner, status = held.get(place, (None, {}))
        group, topic, partition = place
        where = {"topic": topic, "partition": str(partition)}
        counted = ledger.get(place)
        broker = declared.get(place, {})
        found.append(
            {
                "group": group,
                "topic": topic,
                "partition": partition,
                "owner": owner,
                "member": broker.get("owner"),
                "phase": status.get("phase"),
                "lag": broker.get("lag"),
                "paused": status.get("paused", False),
                "stopped_by": status.get("stopped_by"),
                **{name: survey.total(gauge, **where) for name, gauge in _GAUGES.items()},
                "epoch": counted["epoch"] if counted else None,
                "last_commit_ms": counted["at_ms"] if counted else None,
                "ledger": counted,
            }
        )
    return found
