"""Observes the health at intervals and shows it as metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from streams.connect.cache.cached_value import CachedValue
from streams.core.clock import Clock
from streams.core.telemetry.health_metrics import HealthMetrics
from streams.core.topics.topology import DeclaredSource
from streams.core.types import Broker, TopicPartition
from streams.engine.health.finding import Severity
from streams.engine.health.live_workers import LiveWorker, member_prefix
from streams.engine.health.observation import Observation, Stalls
from streams.engine.health.observing import observe
from streams.engine.health.rule import Health, judge


class _Standing(NamedTuple):
    committed: int | None
    since_s: float


class CommitHistory:
    """How long a partition has had unread records without a commit. Its member may hang, be a
    foreign process, or wait for a dependency; only repeated observations show that.

    Takes every observation, oldest first. Unknown values count neither as moving nor as stalled."""

    def __init__(self) -> None:
        self._standing: dict[tuple[str, TopicPartition], _Standing] = {}

    def stalls(self, observed: Observation, now_s: float) -> Stalls:
        """Seconds by group and partition; 0 if the offset moved or nothing is unread. ``now_s`` is monotonic:
        a wall clock that was ahead would hide a stall for as long, and one that is set invents stalls."""
        found: dict[tuple[str, TopicPartition], float] = {}
        known: dict[tuple[str, TopicPartition], _Standing] = {}
        for source in observed.sources:
            for partition in source.logs or ():
                place = (source.source.group, TopicPartition(source.source.topic, partition))
                before, lag = self._standing.get(place), source.lag(partition)
                if lag is None:
                    if before is not None:
                        known[place] = before
                    continue
                committed = (source.committed or {}).get(partition)
                if not lag or before is None or before.committed != committed:
                    before = _Standing(committed, now_s)
                known[place] = before
                found[place] = now_s - before.since_s
        self._standing = known
        return found


log = structlog.get_logger(__name__)

FRESH_S: Final = 5.0
INTERVAL_S: Final = 10.0

WorkersKnown = Callable[[], Awaitable[Sequence[LiveWorker]]]


class HealthMonitor:
    """Observes at most once in `FRESH_S`, for all callers. An unknown lag has no sample."""

    def __init__(
        self,
        broker: Broker,
        sources: Iterable[DeclaredSource],
        workers: WorkersKnown,
        clock: Clock,
        metrics: HealthMetrics,
        state: Path,
    ) -> None:
        """``state``: the state folder of this host's workers."""
        self._state = state
        self._broker = broker
        self._sources = tuple(sources)
        self._workers = workers
        self._clock = clock
        self._metrics = metrics
        self._history = CommitHistory()
        self._recent = CachedValue(self._ask, FRESH_S, clock)

    async def read(self) -> Health:
        return await self._recent.get()

    async def run(self) -> None:
        """Update the metrics until cancelled, then remove them: they must not outlive the
        observation."""
        try:
            while True:
                try:
                    await self.read()
                except Exception:
                    self._metrics.clear()
                    log.exception("health_not_observed")
                await self._clock.sleep(INTERVAL_S)
        finally:
            self._metrics.clear()

    async def close(self) -> None:
        await self._recent.close()

    async def _ask(self) -> Health:
        workers = await self._workers()
        observed = await observe(
            self._broker,
            self._sources,
            workers,
            self._clock,
            local_members=member_prefix(self._state),
        )
        stalls = self._history.stalls(observed, self._clock.monotonic())
        health = judge(replace(observed, stalls=stalls))
        self._show(health)
        return health

    def _show(self, health: Health) -> None:
        metrics = self._metrics
        metrics.clear()
        for verdict in Severity:
            metrics.verdict.labels(verdict.word).set(verdict is health.verdict)
        metrics.observed.set(health.at_ms / 1000)
        for row in health.partitions:
            if row["lag"] is not None:
                place = (row["group"], row["topic"], str(row["partition"]))
                metrics.lag_records.labels(*place).set(row["lag"])
        for one in health.findings:
            metrics.findings.labels(one.code, one.severity.word, one.subject).set(1)
