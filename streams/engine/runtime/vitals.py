"""The health checks of a worker's dependencies (streams/core/degradation)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from streams.connect.broker.opened import opened
from streams.connect.cache.cache import SharedLayer
from streams.core.clock import Clock
from streams.core.degradation.calls import Calls
from streams.core.degradation.degradation import DISK, KAFKA, REDIS, Degradation, shard_signal
from streams.core.degradation.level import Level, Reading
from streams.core.degradation.silence import Silence
from streams.core.degradation.watch import Ask, HealthWatch, Read
from streams.core.errors import TransientError
from streams.core.rows.built_in_tables import ShardSet
from streams.core.settings import Settings
from streams.core.types import Broker
from streams.engine.runtime.group import GroupMember

KAFKA_SILENT_S = 15.0
REDIS_SILENT_S = 5.0
_PING_AFTER_S = 5.0


def shard_calls(shard: int, clock: Clock, settings: Settings) -> Calls:
    return Calls(
        f"ClickHouse shard {shard}",
        clock,
        latency_s=settings.degraded_latency_s,
        error_share=settings.degraded_error_share,
    )


@dataclass(frozen=True, slots=True)
class Watched:
    """The parts of a worker with dependencies; ``layer`` and ``disk`` are optional."""

    shards: ShardSet
    calls: Sequence[Calls]
    broker: Broker
    groups: Sequence[GroupMember]
    layer: SharedLayer | None
    disk: Read | None


def health_watch(degradation: Degradation, clock: Clock, watched: Watched) -> HealthWatch:
    kafka = Silence(
        "Kafka",
        clock,
        level=Level.MINIMAL,
        after_s=KAFKA_SILENT_S,
        heard_at=partial(_fetched_at, watched.groups),
        ask=partial(_ask_broker, watched.broker),
    )
    reads: dict[str, Read] = {KAFKA: kafka.reading}
    asks: list[Ask] = [kafka.run]
    if watched.layer is not None:
        reads[REDIS] = redis_reading(watched.layer, clock)
    if watched.disk is not None:
        reads[DISK] = watched.disk
    watch = HealthWatch(degradation, clock, reads, asks)
    for shard, of_shard in enumerate(watched.calls):
        watch_shard(watch, watched.shards, shard, of_shard, clock)
    return watch


def watch_shard(
    watch: HealthWatch, shards: ShardSet, shard: int, calls: Calls, clock: Clock
) -> None:
    ask = partial(_ping_when_quiet, calls, partial(shards.ping, shard), clock)
    watch.add(shard_signal(shard), calls.reading, ask)


def redis_reading(layer: SharedLayer, clock: Clock) -> Read:
    """Level 2 while the breaker is open, or the subscription is not live for `REDIS_SILENT_S`."""
    hears = layer.invalidations
    silence = Silence(
        "Redis",
        clock,
        level=Level.PARTIAL,
        after_s=REDIS_SILENT_S,
        heard_at=lambda: clock.monotonic() if hears.live else None,
    )

    def read() -> Reading:
        if layer.breaker.state == "open":
            return Reading(Level.PARTIAL, "Redis failed repeatedly; its breaker is open")
        return silence.reading()

    return read


def _fetched_at(groups: Sequence[GroupMember]) -> float | None:
    answers = [at for group in groups if (at := group.fetched_at) is not None]
    return max(answers, default=None)


async def _ask_broker(broker: Broker) -> None:
    """Asks Kafka when no partition is fetched, as all are paused or fencing."""
    async with opened(broker.admin()) as admin:
        await admin.cluster_id()


async def _ping_when_quiet(calls: Calls, ping: Ask, clock: Clock) -> None:
    """Ping a shard without traffic, so that its level is current."""
    while True:
        await clock.sleep(_PING_AFTER_S)
        if calls.quiet_for_s() < _PING_AFTER_S:
            continue
        try:
            with calls.call():
                await ping()
        except TransientError:
            continue
