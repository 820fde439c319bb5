"""The signals of a process, its level, and the actions that the level forbids."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from streams.core.clock import Clock
from streams.core.degradation.fading import Fading
from streams.core.degradation.level import Cause, Level, Reading, Standing
from streams.core.telemetry.metrics import Metrics

KAFKA = "kafka"
REDIS = "redis"
DISK = "disk"

log = structlog.get_logger(__name__)


def shard_signal(shard: int) -> str:
    return f"clickhouse-{shard}"


@dataclass(slots=True)
class _Signal:
    fading: Fading = field(default_factory=Fading)
    why: str = ""
    since_ms: int = 0


class Degradation:
    """Written in the loop's thread; other threads may read `standing`."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._signals: dict[str, _Signal] = {}
        self.standing = Standing(since_ms=clock.now_ms())
        self.on_change: Callable[[Standing], None] = lambda standing: None
        metrics.degradation.level.set(0)

    def observe(self, name: str, reading: Reading) -> None:
        signal = self._signals.get(name)
        if signal is None:
            signal = self._signals[name] = _Signal()
            self._metrics.degradation.signal.labels(name).set(0)
        before = signal.fading.level
        level = signal.fading.read(reading.level)
        if reading.level and reading.level >= level:
            signal.why = reading.why
        if level == before:
            return
        signal.since_ms = self._clock.now_ms()
        self._metrics.degradation.signal.labels(name).set(level)
        self._stand()
        say = log.warning if level > before else log.info
        say("degradation_moved", signal=name, now=int(level), before=int(before), why=signal.why)

    def level_of(self, name: str) -> Level:
        """0 before its first reading."""
        signal = self._signals.get(name)
        return signal.fading.level if signal is not None else Level.HEALTHY

    @property
    def level(self) -> Level:
        return Level(self.standing.level)

    def without_early_rows(self, shards: int) -> frozenset[int]:
        """The shards, of ``shards``, that get no rows of open windows."""
        if not self.standing.level:
            return frozenset()
        return frozenset(n for n in range(shards) if self.level_of(shard_signal(n)))

    @property
    def intake_held(self) -> bool:
        """Partitions take no records, because their results could not be stored."""
        return self.level_of(DISK) >= Level.MINIMAL

    def _stand(self) -> None:
        causes = tuple(_causes(self._signals.items()))
        level = causes[0].level if causes else 0
        before = self.standing
        since_ms = before.since_ms if level == before.level else self._clock.now_ms()
        self.standing = Standing(level=level, since_ms=since_ms, causes=causes)
        self._metrics.degradation.level.set(level)
        self.on_change(self.standing)


def _causes(signals: Iterable[tuple[str, _Signal]]) -> list[Cause]:
    found = [
        Cause(signal=name, level=int(s.fading.level), why=s.why, since_ms=s.since_ms)
        for name, s in signals
        if s.fading.level
    ]
    return sorted(found, key=lambda cause: (-cause.level, cause.since_ms, cause.signal))
