"""Samples the pipeline at intervals, whether or not a page is open."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from streams.core.clock import Clock
from streams.engine.health.monitor import HealthMonitor
from streams.http.console.history.alerts import StandingAlerts
from streams.http.console.history.backlogs import BacklogHistory
from streams.http.console.history.changes import ObservedChanges
from streams.http.console.pipeline.busy import BusyShares
from streams.http.console.pipeline.freshness import SAMPLE_S, FreshnessSeries
from streams.http.console.pipeline.services import Services
from streams.http.console.pipeline.workers import Workers

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class PipelineRecorder:
    """The samples of one console process."""

    _workers: Workers
    _services: Services
    _health: HealthMonitor
    _clock: Clock

    def __post_init__(self) -> None:
        self.backlogs = BacklogHistory(self._clock)
        self.freshness = FreshnessSeries(self._clock)
        self.busy = BusyShares(self._clock)
        self.changes = ObservedChanges()
        self.alerts = StandingAlerts()
        self.began_ms = self._clock.now_ms()

    async def run(self) -> None:
        """Until cancelled. A failed sample is left out."""
        while True:
            try:
                await self.sample()
            except Exception:
                log.exception("pipeline_not_sampled")
            await self._clock.sleep(SAMPLE_S)

    async def sample(self) -> None:
        survey, services, health = await asyncio.gather(
            self._workers.survey(), self._services.read(), self._health.read()
        )
        self.freshness.take(survey.of("freshness_seconds_bucket"))
        self.backlogs.take(health.partitions)
        self.busy.take(survey)
        versions = {one.worker: one.labels.get("version", "") for one in survey.of("build_info")}
        now_ms, now_s = self._clock.now_ms(), self._clock.monotonic()
        self.changes.take(now_ms, now_s, services, survey.workers, health, versions)
        self.alerts.take(now_ms, now_s, health.findings)
