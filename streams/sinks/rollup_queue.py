"""Hours and days recomputed from their minutes, at most once per interval each.

Whoever evicted acknowledged minute rows owes the recomputation of their hour and day
(`runtime/effects.py`). Obligations for the same bucket, from any partition, are met by one
recomputation that *began* after they were submitted. The last day's obligations cost one
query each per interval, however many minutes changed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import structlog

from streams.clock import Clock
from streams.errors import RollUpExpired, TransientError
from streams.rows import Bucket, ShardSet
from streams.telemetry.metrics import Metrics

_POLL_S = 0.5
_RETRY_S = 5.0

log = structlog.get_logger(__name__)

Done = Callable[[], None]


class BucketStart(NamedTuple):
    """One hour or day of one shard; ``start_s`` in seconds since the epoch."""

    shard: int
    bucket: Bucket
    start_s: int


class RollUpQueue:
    """The obligations of one process, met one at a time."""

    def __init__(
        self, shards: ShardSet, clock: Clock, metrics: Metrics, *, interval_s: float, seed: int = 0
    ) -> None:
        self._shards = shards
        self._clock = clock
        self._metrics = metrics
        self._interval_s = interval_s
        self._jitter = random.Random(seed)
        self._owed: dict[BucketStart, list[tuple[object, Done]]] = {}
        self._due_at: dict[BucketStart, float] = {}

    def submit(self, owner: object, bucket: BucketStart, done: Done) -> None:
        """Recompute ``bucket`` within the interval, then call ``done``."""
        self._owed.setdefault(bucket, []).append((owner, done))
        now_s = self._clock.monotonic()
        # Half an interval at least: the minutes of a bucket tend to come together.
        self._due_at.setdefault(
            bucket, now_s + self._interval_s * (0.5 + self._jitter.random() / 2)
        )

    def forget(self, owner: object) -> None:
        """Drop what ``owner`` waits for."""
        for bucket, waiting in list(self._owed.items()):
            waiting[:] = [(who, done) for who, done in waiting if who is not owner]
            if not waiting:
                del self._owed[bucket]
                self._due_at.pop(bucket, None)

    async def run(self) -> None:
        """Recompute what is due until cancelled; what is owed stays owed in its owners' state."""
        while True:
            now_s = self._clock.monotonic()
            due = sorted(bucket for bucket, at in self._due_at.items() if at <= now_s)
            for bucket in due:
                await self._recompute(bucket)
            await self._clock.sleep(_POLL_S)

    async def _recompute(self, bucket: BucketStart) -> None:
        waiting = self._owed.pop(bucket, [])
        self._due_at.pop(bucket, None)
        if not waiting:
            return
        try:
            await self._shards.roll_up(*bucket)
        except RollUpExpired as error:
            # Recomputing would shrink what is stored: the obligation ends, loudly.
            self._metrics.sink.rollups_refused.labels(bucket.bucket).inc()
            log.warning("roll_up_refused", bucket=bucket, error=str(error))
        except TransientError as error:
            log.warning("roll_up_failed", bucket=bucket, code=error.code, error=str(error))
            self._owed[bucket] = waiting + self._owed.get(bucket, [])
            self._due_at[bucket] = self._clock.monotonic() + _RETRY_S
            return
        else:
            self._metrics.sink.rollups.labels(bucket.bucket).inc()
        for _, done in waiting:
            done()
