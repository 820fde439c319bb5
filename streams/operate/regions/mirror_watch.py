"""Measures what the mirror into this region lacks of the active one, while that is another."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streams.core.clock import Clock
from streams.core.errors import DiaError
from streams.core.resilience.deadline import Deadline, DeadlinePassed
from streams.core.telemetry.region_metrics import RegionMetrics
from streams.core.topics.topology import Topology
from streams.core.types import Broker
from streams.operate.regions.mirrored import SeenLogs, missing_of, oldest_s, records_of
from streams.operate.regions.watch import RegionStanding

MEASURE_S = 15.0
MEASURE_TIMEOUT_S = 30.0


class MirrorWatch:
    """``standing`` is what the region's `RegionWatch` knows."""

    def __init__(
        self,
        brokers: Mapping[str, Broker],
        topology: Topology,
        clock: Clock,
        standing: Callable[[], RegionStanding],
        metrics: RegionMetrics,
    ) -> None:
        self._brokers = brokers
        self._topology = topology
        self._clock = clock
        self._standing = standing
        self._metrics = metrics
        self._seen: dict[str, SeenLogs] = {}
        self.missing: tuple[int, float] | None = None
        """records, and the age of the oldest in seconds; None while unknown, or while active"""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.measure()
            await self._clock.sleep(MEASURE_S)

    async def measure(self) -> None:
        """A measurement that fails leaves no sample."""
        found, metrics = self._standing(), self._metrics
        metrics.active.labels(found.region).set(found.serves)
        metrics.epoch.set(found.epoch)
        metrics.missing_records.clear()
        metrics.missing_seconds.clear()
        self.missing = None
        source = found.active
        if source == found.region or source not in self._brokers:
            return
        own = self._brokers[found.region]
        seen = self._seen.setdefault(source, SeenLogs())
        asking = missing_of(self._brokers[source], own, self._topology, source, seen)
        try:
            missing = await Deadline(self._clock, MEASURE_TIMEOUT_S).wait(asking)
        except (DiaError, DeadlinePassed):
            return
        records = records_of(missing)
        self.missing = (records, oldest_s(missing, self._clock.now_ms()))
        metrics.missing_records.labels(source).set(records)
        metrics.missing_seconds.labels(source).set(self.missing[1])
