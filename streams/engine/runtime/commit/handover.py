"""C5 and A5 hand committed rows and effects to their targets; C6 handles the answers.

Each is absolute and versioned: repeats and late arrivals change nothing. Answers change the
partition in the thread of the event loop; answers for a dropped partition are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from streams.connect.sinks.delivery import Delivery
from streams.connect.sinks.rollup_queue import BucketStart, RollUpQueue
from streams.connect.sinks.waiting_rows import Job
from streams.core.clock import Clock
from streams.core.degradation.degradation import Degradation
from streams.core.rows.built_in_tables import FactRows, ShardSet
from streams.core.rows.row_sink import RowBatch
from streams.core.rows.targets import Targets
from streams.core.telemetry.metrics import Metrics
from streams.core.tracing.tracer import (
    UNTRACED,
    UNTRACED_PARTITION,
    Origins,
    PartitionTracer,
    Tracer,
)
from streams.engine.runtime.effects import effects
from streams.engine.runtime.effects.cache_writes import CacheWrites
from streams.engine.runtime.effects.refused_row import RefusedFact, refused_facts
from streams.engine.runtime.effects.sink_writes import SinkWrites
from streams.engine.runtime.partition.partition import Partition, Prepared
from streams.engine.runtime.partition.pressure import RESUME_AT
from streams.engine.state.outbox import OwedEffect
from streams.engine.windows.minutes.emission import Emission, EmittingTable
from streams.engine.windows.minutes.window_columns import NEVER_MS

_FRESHNESS_SAMPLES = 50
ROWS_WAIT_S = 2.0
FACTS_WAIT_S = 5.0
"""seconds for which rows of a partition with a backlog wait, so that several share an insert"""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Handover:
    targets: Targets
    shards: ShardSet
    delivery: Delivery
    roll_ups: RollUpQueue
    clock: Clock
    metrics: Metrics
    caches: CacheWrites
    sinks: SinkWrites
    degradation: Degradation
    tracer: Tracer = UNTRACED

    def room(self) -> list[int]:
        """Free rows in the queue of each shard."""
        return self.delivery.room()

    def spared(self) -> frozenset[int]:
        """Shards that get no rows of live windows because they are slow."""
        return self.degradation.without_early_rows(self.shards.count)

    @property
    def intake_held(self) -> bool:
        """Whether partitions must take no records: the disk is full."""
        return self.degradation.intake_held

    def committed(
        self,
        partition: Partition,
        prepared: Prepared,
        trail: PartitionTracer = UNTRACED_PARTITION,
        origins: Origins = (),
    ) -> None:
        """C5 of one commit; ``origins`` link its effects to traces."""
        self.emit(partition, prepared.emissions, trail)
        self._owe(partition, prepared.effects, origins)
        for tell in prepared.told:
            try:
                tell()
            except Exception:
                log.exception("callback_failed", tp=str(partition.tp))

    def repeat(self, partition: Partition) -> None:
        """A5: hand over every owed effect; a restored window table emits its rows by itself. Raises
        `UnknownTarget` before any is handed over."""
        self._owe(partition, partition.outbox.take_fresh(), repeated=True)

    def forget(self, partition: Partition) -> None:
        self.delivery.forget(partition)
        self.roll_ups.forget(partition)
        self.caches.forget(partition)
        self.sinks.forget(partition)

    def emit(
        self,
        partition: Partition,
        emissions: Sequence[Emission],
        trail: PartitionTracer = UNTRACED_PARTITION,
    ) -> None:
        windows = partition.windows
        if not partition.backlog.reading:
            self.delivery.caught_up(partition)
            self.roll_ups.caught_up(partition)
        wait_s = ROWS_WAIT_S if _may_wait(partition) else 0.0
        for emission in emissions:
            assert windows is not None, "only a window table emits rows"
            answers = _Answers(windows, emission, self, len(emission.rows))
            origins = trail.origins(emission.since_ms, emission.versions)
            for rows in emission.rows:
                self.delivery.submit(Job(partition, rows, answers.one, origins, wait_s))
        if windows is not None:
            trail.shown(windows.oldest_unshown_ms)

    def observe_freshness(self, emission: Emission) -> None:
        """Now minus append time, of evenly spaced rows: a histogram takes one value at a time."""
        since_ms = emission.since_ms[:: -(-len(emission.since_ms) // _FRESHNESS_SAMPLES)]
        now_ms = self.clock.now_ms()
        for then_ms in since_ms[since_ms < NEVER_MS].tolist():
            self.metrics.sink.freshness_seconds.observe(max(0, now_ms - then_ms) / 1000)

    def _owe(
        self,
        partition: Partition,
        owed: Sequence[OwedEffect],
        origins: Origins = (),
        *,
        repeated: bool = False,
    ) -> None:
        """Hand over effects; ``repeated`` ones do not wait for others."""
        wait_s = FACTS_WAIT_S if not repeated and _may_wait(partition) else 0.0
        effects.check_targets(self.targets, (effect.key for effect in owed))
        for effect in owed:
            done = partial(partition.effect_done, effect.key, effect.seq)
            roll_up = effects.roll_up(effect.key)
            if roll_up is not None:
                bucket = BucketStart(*roll_up)
                growing = not repeated and partition.still_folds(bucket.end_s * 1000)
                self.roll_ups.submit(partition, bucket, done, growing=growing)
                continue
            change = effects.cache_change(effect.key, effect.value)
            if change is not None:
                self.caches.submit(partition, change, done)
                continue
            batch = effects.row_batch(partition.agent.group, partition.tp, effect.key, effect.value)
            if batch is not None:
                self.sinks.submit(partition, batch, partial(_refusable, partition, effect, batch))
                continue
            facts = effects.fact_rows(
                self.targets.tables,
                *(effect.key, effect.value, self.shards.shard_of_key),
                partition.state.key_maps,
            )
            answers = _FactAnswers(partition, effect.key, effect.seq, len(facts))
            for rows in facts:
                told = partial(answers.one, rows)
                self.delivery.submit(Job(partition, rows, told, origins, wait_s))


def _may_wait(partition: Partition) -> bool:
    """Rows of a backlog wait for others while the partition is below half of its bounds."""
    return partition.backlog.reading and partition.fill < RESUME_AT


def _refusable(
    partition: Partition, effect: OwedEffect, batch: RowBatch, refused: Sequence[int], reason: str
) -> None:
    rows = [
        RefusedFact(
            batch.sink,
            {name: column[i] for name, column in batch.columns.items()},
            reason,
            place=f"{batch.name}/{i}",
        )
        for i in refused
    ]
    partition.effect_done(effect.key, effect.seq, rows)


@dataclass(slots=True)
class _Answers:
    """Answers for one emission, whose rows may go to two tables (h1 and d1): a row is stored once
    both have it, and refused if either refuses it."""

    windows: EmittingTable
    emission: Emission
    targets: Handover
    waiting: int
    refused: set[int] = field(default_factory=set)
    reason: str = ""

    def one(self, refused: Sequence[int], reason: str) -> None:
        self.waiting -= 1
        if refused:
            self.refused.update(refused)
            self.reason = reason
        if self.waiting:
            return
        if self.refused:
            self.windows.refused(self.emission, sorted(self.refused), self.reason)
        else:
            self.windows.acknowledged(self.emission)
            self.targets.observe_freshness(self.emission)


@dataclass(slots=True)
class _FactAnswers:
    partition: Partition
    key: bytes
    seq: int
    waiting: int
    refused: list[RefusedFact] = field(default_factory=list)

    def one(self, rows: FactRows, refused: Sequence[int], reason: str) -> None:
        self.waiting -= 1
        self.refused += refused_facts(rows, refused, reason)
        if self.waiting == 0:
            self.partition.effect_done(self.key, self.seq, self.refused)
