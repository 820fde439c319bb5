"""An HTTP surface's place among regions: what it refuses, and what it tells a global load balancer."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.refusals import RegionNotActive, RegionUnknown
from streams.core.clock import Clock
from streams.core.settings import Settings
from streams.core.telemetry.region_metrics import RegionMetrics
from streams.core.topics.topology import Topology
from streams.operate.regions.declared import regions_of
from streams.operate.regions.mirror_watch import MirrorWatch
from streams.operate.regions.watch import UNKNOWN, RegionStanding, RegionWatch

RETRY_S = 5.0
PATH = "/health/region"
_ALONE = RegionStanding("", "", 0, "", "")


class RegionGate:
    """Without ``watch`` there is one region, which is active. ``mirror`` runs beside it."""

    def __init__(self, watch: RegionWatch | None = None, mirror: MirrorWatch | None = None) -> None:
        self._watch = watch
        self._mirror = mirror

    @classmethod
    def of(
        cls,
        settings: Settings,
        topology: Topology,
        clock: Clock,
        measured: RegionMetrics | None = None,
    ) -> RegionGate:
        """As the settings declare; with ``measured``, it also measures the mirror into this region.
        Raises `UsageError` for a file of regions that cannot be used."""
        regions = regions_of(settings)
        if regions is None:
            return cls()
        brokers = regions.brokers(settings)
        watch = RegionWatch(regions.own, brokers, topology.app, clock, regions.lease_s)
        if measured is None:
            return cls(watch)
        return cls(watch, MirrorWatch(brokers, topology, clock, watch.standing, measured))

    async def run(self) -> None:
        """Ask for the word until cancelled."""
        if self._watch is None:
            await asyncio.Event().wait()
        elif self._mirror is None:
            await self._watch.run()
        else:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch.run(), name="region-words")
                tasks.create_task(self._mirror.run(), name="region-mirror")

    @property
    def standing(self) -> RegionStanding:
        return _ALONE if self._watch is None else self._watch.standing()

    def rows(self) -> list[dict[str, Any]]:
        """Every region as this process last read it; [] where none is declared."""
        if self._watch is None:
            return []
        own = self.standing.region
        missing = self._mirror.missing if self._mirror is not None else None
        return [
            {
                "region": name,
                "here": name == own,
                "active": word.active if word is not None else "",
                "epoch": word.epoch if word is not None else 0,
                "read_s": None if age_s is None else round(age_s, 1),
                "missing_records": missing[0] if missing and name == own else None,
                "missing_s": round(missing[1], 1) if missing and name == own else None,
            }
            for name, word, age_s in self._watch.seen()
        ]

    def require(self) -> None:
        """Raises `RegionNotActive` and `RegionUnknown`."""
        found = self.standing
        if not found.serves:
            error = RegionUnknown if found.code == UNKNOWN else RegionNotActive
            raise error(f"{found.why}; use the global address", retry_after_s=RETRY_S)

    async def health(self, request: Request) -> Response:
        """200 while this region is active, else 503."""
        found = self.standing
        content = {
            "region": found.region,
            "active": found.active,
            "epoch": found.epoch,
            "serves": found.serves,
            "why": found.why,
        }
        status = 200 if found.serves else 503
        return Response(msgspec.json.encode(content), status, media_type="application/json")


ONE_REGION = RegionGate()
