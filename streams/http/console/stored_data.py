"""GET /api/data: where rows are kept, what moves, and what would give them back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.tokens import Role
from streams.connect.cache.kind import OVERVIEW
from streams.connect.sinks.map_record import RecordedMap, day_text
from streams.connect.sinks.shard_maps import KnownMaps
from streams.core.errors import DependencyUnreachable, TransientError, UsageError
from streams.core.settings import Settings
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.response_cache import QueryKey, ResponseCache
from streams.http.console.shards import ShardReader
from streams.http.region import ONE_REGION, RegionGate
from streams.operate.backup.catalog import KnownBackup, catalog
from streams.operate.backup.destination import BackupDestination
from streams.operate.drill.record import DrillRecord, kept

BACKUPS_MAX = 50
"""the newest ones"""
DAYS_MAX = 400
"""of moves, the newest ones"""


@dataclass(eq=False)
class StoredDataHandler:
    """It covers every tenant, so a bound token is refused."""

    _gate: Authorizer
    _shards: ShardReader
    _answers: ResponseCache
    _settings: Settings
    _region: RegionGate = ONE_REGION

    async def show(self, request: Request) -> Response:
        self._gate.holder(request, Role.ADMIN).require_everyone()
        question = QueryKey(OVERVIEW, "", ("data",))
        return reply.json(request, await self._answers.told(question, self._load))

    async def _load(self) -> dict[str, Any]:
        """Servers and backups are read apart: each is shown where the other is away."""
        try:
            known, unknown_maps = await self._shards.known(), ""
        except TransientError as error:
            known, unknown_maps = None, str(error)
        backups, drills, unknown_backups = await asyncio.to_thread(self._kept)
        return {
            "degraded": known is None,
            "maps_unknown": unknown_maps,
            "shards": _shards(known),
            "maps": [_map(one) for one in known.maps] if known is not None else [],
            "days": _days(known),
            "backups_unknown": unknown_backups,
            "backups": [_backup(one) for one in backups[:BACKUPS_MAX]],
            "backups_left_out": max(0, len(backups) - BACKUPS_MAX),
            "drills": [_drill(one) for one in drills],
            "regions": self._region.rows(),
        }

    def _kept(self) -> tuple[Sequence[KnownBackup], Sequence[DrillRecord], str]:
        try:
            destination = BackupDestination.of(self._settings)
            return catalog(destination), kept(destination), ""
        except (DependencyUnreachable, UsageError) as error:
            return [], [], str(error)


def _shards(known: KnownMaps | None) -> list[dict[str, Any]]:
    if known is None:
        return []
    newest = known.newest.record
    return [
        {"shard": shard, "addresses": list(urls), "takes_windows": shard not in newest.without}
        for shard, urls in enumerate(known.urls)
    ]


def _map(one: RecordedMap) -> dict[str, Any]:
    return {
        "map": one.record.version,
        "days": one.record.day,
        "shards": one.record.shards,
        "placement": one.record.identity.description,
        "in_force": one.in_force,
        "moves": one.record.last_day is not None,
    }


def _days(known: KnownMaps | None) -> list[dict[str, Any]]:
    """Of every move, newest first."""
    found = [
        {
            "map": one.record.version,
            "day": day_text(day),
            "state": one.state(day).name.lower(),
            "unfinished": day in one.unfinished,
        }
        for one in (known.moves if known is not None else [])
        for day in one.record.days
    ]
    return found[::-1][:DAYS_MAX]


def _backup(one: KnownBackup) -> dict[str, Any]:
    manifest = one.manifest
    return {
        "name": one.name,
        "state": one.state.value,
        "begun_ms": one.begun_ms,
        "base": manifest.base if manifest is not None else "",
        "bytes": manifest.own_bytes if manifest is not None else None,
        "why": one.why,
    }


def _drill(one: DrillRecord) -> dict[str, Any]:
    return {
        "name": one.name,
        "began_ms": one.began_ms,
        "backup": one.backup,
        "rows": one.rows,
        "rto_s": one.rto_s,
        "rpo_s": one.rpo_s,
        "lost_rows": sum(one.lost.values()),
    }
