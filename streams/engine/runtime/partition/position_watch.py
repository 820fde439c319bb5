"""What the consumer's position, the broker's answers and arriving records tell of one partition."""

from __future__ import annotations

from streams.core.clock import Clock
from streams.core.types import GroupConsumer, RecordBatch, TopicPartition
from streams.engine.runtime.partition.clock_gap import ClockGap
from streams.engine.runtime.partition.held_back import HeldBack
from streams.engine.runtime.partition.idle import IdleWatch, caught_up
from streams.engine.runtime.partition.partition import Partition


class PositionWatch:
    def __init__(
        self, tp: TopicPartition, consumer: GroupConsumer, clock: Clock, idle_close_s: float
    ) -> None:
        self._tp = tp
        self._consumer = consumer
        self._clock = clock
        self._idle = IdleWatch(idle_close_s)
        self._held_back = HeldBack()
        self._clock_gap = ClockGap(clock)

    def observe(self, partition: Partition) -> None:
        """Note where the consumer and the log are; advance the time of an idle partition."""
        now_s, consumer = self._clock.monotonic(), self._consumer
        position, seen = consumer.position(self._tp), consumer.watermarks(self._tp)
        self._idle.observe(now_s, position, seen)
        self._held_back.observe(now_s, position, seen)
        self._clock_gap.observe(position, seen)
        partition.backlog.observe(now_s, partition.position, seen)
        progress = partition.progress
        watermark_ms = self._idle.watermark_ms(
            now_s, progress.last_append_ms, progress.watermark_ms
        )
        if watermark_ms is not None:
            partition.idle_until(watermark_ms)

    def arrived(self, batch: RecordBatch) -> None:
        self._clock_gap.arrived(batch)

    def reset_idle(self) -> None:
        """Records were folded, or the partition was paused."""
        self._idle.reset()

    @property
    def held_back_s(self) -> float:
        return self._held_back.seconds(self._clock.monotonic())

    @property
    def clock_ahead_s(self) -> float | None:
        return self._clock_gap.ahead_s

    @property
    def read_all(self) -> bool:
        now_s, consumer = self._clock.monotonic(), self._consumer
        return caught_up(now_s, consumer.position(self._tp), consumer.watermarks(self._tp))
