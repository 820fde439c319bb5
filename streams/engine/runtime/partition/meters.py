"""Metrics of one assigned partition.

Metric children are cached: the library looks each up by its labels, under a lock.
"""

from __future__ import annotations

import math
from typing import Any

import structlog

from streams.core.clock import Clock
from streams.core.telemetry.metrics import Metrics
from streams.core.types import TopicPartition
from streams.engine.runtime.partition.partition import Partition
from streams.engine.state.changelog import Counters

_MEASURE_S = 1.0

log = structlog.get_logger(__name__)


class PartitionMeters:
    def __init__(self, metrics: Metrics, tp: TopicPartition, clock: Clock) -> None:
        self._metrics = metrics
        self._tp = tp
        self._clock = clock
        self._counted = Counters()
        self._misplaced = self._late_dropped = 0
        self._measured_at_s = -math.inf
        self._children: dict[tuple[Any, str], Any] = {}

    def opened(self, partition: Partition, took_s: float, restored_records: int) -> None:
        """Start counting at the restored counters: the previous owner counted what is before."""
        self._counted, self._misplaced = partition.progress.counters(), 0
        self._late_dropped = 0
        self._metrics.partition.restore_seconds.observe(took_s)
        self._of(self._metrics.partition.restore_records).inc(restored_records)
        if partition.offset_moved:
            self._of(self._metrics.intake.offset_moved).inc()
            log.warning(
                "group_offset_moved",
                tp=str(self._tp),
                group=partition.agent.group,
                next_offset=partition.position,
                why="the group's committed offset differs from the last commit: it was reset or "
                "deleted, or the broker lost it. The partition continues from its state; the "
                "next commit sets the offset again.",
            )

    def count(self, partition: Partition) -> None:
        before, after = self._counted, partition.progress.counters()
        self._counted = after
        intake = self._metrics.intake
        read = after.read - before.read - (after.shed - before.shed)
        self._of(intake.records_read).inc(read)
        self._of(intake.records_applied).inc(after.applied - before.applied)
        self._of(intake.duplicates).inc(after.duplicates - before.duplicates)
        misplaced, self._misplaced = self._misplaced, partition.placement.misplaced
        if self._misplaced > misplaced:
            self._of(intake.misplaced).inc(self._misplaced - misplaced)
        late, self._late_dropped = self._late_dropped, partition.late_dropped
        if self._late_dropped > late:
            self._of(intake.late_dropped).inc(self._late_dropped - late)

    def measure(
        self, partition: Partition, lag: int | None, held_back_s: float, clock_ahead_s: float | None
    ) -> None:
        """Update counters and gauges, at most once a second. None: unknown."""
        now_s = self._clock.monotonic()
        if now_s < self._measured_at_s + _MEASURE_S:
            return
        self._measured_at_s = now_s
        self.count(partition)
        state, intake, metrics = partition.state, self._metrics.intake, self._metrics.state
        self._of(intake.held_back_seconds).set(held_back_s)
        if clock_ahead_s is not None:
            self._of(intake.clock_ahead_seconds).set(clock_ahead_s)
        if lag is not None:
            self._of(intake.lag_records).set(lag)
        age_s = partition.behind_s(self._clock.now_ms())
        if age_s is not None:
            self._of(intake.event_time_lag_seconds).set(age_s)
        if partition.windows is not None:
            self._of(metrics.live_windows).set(len(partition.windows))
        if partition.held is not None:
            self._of(self._metrics.commit.held_windows).set(len(partition.held))
        self._of(intake.quarantined_tenants).set(partition.poison.quarantined())
        self._of(metrics.changelog_live_bytes).set(state.live.live_bytes)
        self._of(metrics.changelog_log_bytes).set(state.live.log_bytes)
        self._of(metrics.pressure_ratio).set(partition.fill)
        self._of(metrics.unacked_rows).set(len(partition.outbox))
        for name, table in state.tables.items():
            self._of(metrics.bytes, name).set(table.bytes_used)

    def enter(self, phase: str, code: str = "") -> None:
        self._metrics.set_partition_state(self._tp.topic, self._tp.partition, phase, code)

    def forget(self) -> None:
        """Remove the partition's gauges when it is revoked."""
        self._children.clear()
        self._metrics.forget_partition(self._tp.topic, self._tp.partition)

    def _of(self, family: Any, more: str = "") -> Any:
        child = self._children.get((family, more))
        if child is None:
            labels = (*self._tp, more) if more else self._tp
            child = self._children[family, more] = family.labels(*labels)
        return child
