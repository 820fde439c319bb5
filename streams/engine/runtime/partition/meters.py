"""Metrics of one assigned partition.

Records count once they are committed: what is folded again, because its commit was void, counts once. A commit in
doubt counts when the partition opens, if its link is the chain's last.

Metric children are cached: the library looks each up by its labels, under a lock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import structlog

from streams.core.clock import Clock
from streams.core.telemetry.metrics import Metrics
from streams.core.types import TopicPartition
from streams.engine.runtime.partition.partition import Partition, Prepared
from streams.engine.state.changelog import Counters, Link

_MEASURE_S = 1.0

log = structlog.get_logger(__name__)


class _Tally(NamedTuple):
    """Of one commit. The last four are not in the counters of its link."""

    link: Link
    misplaced: int
    late_dropped: int
    pointers: int
    compact: int
    refused_closes: Mapping[str, int]

    def is_of(self, link: Link) -> bool:
        mine = self.link
        return (mine.epoch, mine.secret, mine.seq, mine.next_offset, mine.counters) == (
            link.epoch,
            link.secret,
            link.seq,
            link.next_offset,
            link.counters,
        )


class PartitionMeters:
    def __init__(self, metrics: Metrics, tp: TopicPartition, clock: Clock) -> None:
        self._metrics = metrics
        self._tp = tp
        self._clock = clock
        self._counted = Counters()
        self._misplaced = self._late_dropped = 0
        """of the open partition, up to the last commit"""
        self._tally: _Tally | None = None
        """of the commit that is made, or in doubt"""
        self._measured_at_s = -math.inf
        self._children: dict[tuple[Any, str], Any] = {}

    def opened(self, partition: Partition, took_s: float, restored_records: int) -> None:
        """Start counting at the restored counters: the previous owner counted what is before."""
        link, tally = partition.state.link, self._tally
        if tally is not None and tally.is_of(link):
            self.committed()
        self._tally, self._counted = None, link.counters
        self._misplaced = self._late_dropped = 0
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

    def preparing(self, partition: Partition, prepared: Prepared) -> None:
        self._tally = _Tally(
            prepared.link,
            partition.placement.misplaced - self._misplaced,
            partition.late_dropped - self._late_dropped,
            prepared.pointers,
            prepared.compact,
            prepared.refused_closes,
        )

    def committed(self) -> None:
        """The commit of the last `preparing` is carried out."""
        tally, self._tally = self._tally, None
        assert tally is not None, "a commit was prepared"
        before, after = self._counted, tally.link.counters
        self._counted = after
        self._misplaced += tally.misplaced
        self._late_dropped += tally.late_dropped
        intake, commit = self._metrics.intake, self._metrics.commit
        self._of(commit.commits).inc()
        shed = after.shed - before.shed
        for family, records in (
            (intake.records_read, after.read - before.read - shed),
            (intake.records_applied, after.applied - before.applied),
            (intake.duplicates, after.duplicates - before.duplicates),
            (intake.shed, shed),
            (intake.misplaced, tally.misplaced),
            (intake.late_dropped, tally.late_dropped),
        ):
            if records:
                self._of(family).inc(records)
        self._count_letters(before, tally)

    def _count_letters(self, before: Counters, tally: _Tally) -> None:
        topic, intake = self._tp.topic, self._metrics.intake
        for code, total in tally.link.counters.dead_by_code.items():
            if written := total - before.dead_by_code.get(code, 0):
                intake.dead_letters.labels(topic, code).inc(written)
        for code, closes in tally.refused_closes.items():
            intake.dead_letters.labels(topic, code).inc(closes)
            self._metrics.commit.refused_closes.labels(topic, code).inc(closes)
        if tally.pointers:
            intake.pointers.labels(topic).inc(tally.pointers)
            log.warning("dead_letters_too_large", tp=str(self._tp), letters=tally.pointers)
        if tally.compact:
            intake.compact_letters.labels(topic).inc(tally.compact)

    @property
    def due(self) -> bool:
        """Whether the gauges are a second old."""
        return self._clock.monotonic() >= self._measured_at_s + _MEASURE_S

    def gauge(
        self,
        partition: Partition,
        lag: int | None,
        behind_s: float,
        held_back_s: float,
        clock_ahead_s: float | None,
    ) -> None:
        """Update the gauges. None: unknown."""
        self._measured_at_s = self._clock.monotonic()
        state, intake, metrics = partition.state, self._metrics.intake, self._metrics.state
        self._of(intake.append_lag_seconds).set(behind_s)
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
        self._of(intake.tenants_over_letter_quota).set(len(partition.poison.over_quota()))
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
