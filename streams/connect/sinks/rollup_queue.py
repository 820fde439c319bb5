"""Recomputes hours from minutes and days from hours, at a bounded cost.

A partition that evicts acknowledged minute rows owes the recomputation of their hour and day
(`runtime/effects/effects.py`). One recomputation meets all obligations for a bucket that were
submitted before it *began*. A day's owed hours are recomputed before the day.

A recomputation reads its whole bucket. After each, the bucket rests for `REST` times its duration,
so that the cost per shard is a share of time. While an owner still reads a backlog into a bucket,
the bucket waits, up to `REST_MAX_S`."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from typing import NamedTuple

import structlog

from streams.connect.sinks import rollup
from streams.core.clock import Clock
from streams.core.errors import RollUpExpired, TransientError
from streams.core.rows.built_in_tables import Bucket, ShardSet
from streams.core.telemetry.metrics import Metrics

_POLL_S = 0.5
_RETRY_S = 5.0

REST = 20
REST_MAX_S = 45.0
"""Hours and days follow their last minute within a minute."""

log = structlog.get_logger(__name__)

Done = Callable[[], None]


class BucketStart(NamedTuple):
    """``start_s`` in epoch seconds."""

    shard: int
    bucket: Bucket
    start_s: int

    @property
    def end_s(self) -> int:
        return self.start_s + rollup.WIDTH_S[self.bucket]


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
        self._growing: dict[BucketStart, list[object]] = {}
        """for owed buckets: the owners with more to submit"""
        self._rests_until: dict[BucketStart, float] = {}

    def submit(
        self, owner: object, bucket: BucketStart, done: Done, *, growing: bool = False
    ) -> None:
        """Within the interval or the bucket's rest, then call ``done``. ``growing``: ``owner`` will
        submit it again soon, so it may wait longer."""
        self._owed.setdefault(bucket, []).append((owner, done))
        if growing:
            owners = self._growing.setdefault(bucket, [])
            if not _has(owners, owner):
                owners.append(owner)
            if bucket not in self._due_at:
                self._come_due(bucket, REST_MAX_S)
        elif bucket not in self._due_at:
            self._come_due(bucket, self._soon_s())
        else:
            self._grown(owner, bucket)

    def caught_up(self, owner: object) -> None:
        """``owner`` has read its backlog: buckets that wait for it alone are due as usual."""
        waiting = [bucket for bucket, owners in self._growing.items() if _has(owners, owner)]
        for bucket in sorted(waiting, key=_days_last):
            self._grown(owner, bucket)

    def _grown(self, owner: object, bucket: BucketStart) -> None:
        owners = self._growing.get(bucket, [])
        others = [one for one in owners if one is not owner]
        if others or not owners:
            owners[:] = others
            return
        del self._growing[bucket]
        self._come_due(bucket, self._soon_s())

    def _soon_s(self) -> float:
        # Half an interval at least: minutes of a bucket tend to arrive together.
        return self._interval_s * (0.5 + self._jitter.random() / 2)

    def _come_due(self, bucket: BucketStart, pause_s: float) -> None:
        """In ``pause_s`` at the latest, except for the bucket's rest."""
        due_at = min(self._due_at.get(bucket, math.inf), self._clock.monotonic() + pause_s)
        due_at = max(due_at, self._rests_until.get(bucket, 0.0))
        # A day is due with its hours: earlier, it would cut their rest.
        hours = (self._due_at[hour] for hour in self._hours_of(bucket))
        self._due_at[bucket] = max([due_at, *hours])

    def forget(self, owner: object) -> None:
        self.caught_up(owner)
        for bucket, waiting in list(self._owed.items()):
            waiting[:] = [(waiter, done) for waiter, done in waiting if waiter is not owner]
            if not waiting:
                self._taken(bucket)

    async def run(self) -> None:
        """Until cancelled; unmet obligations stay in their owners' state."""
        while True:
            now_s = self._clock.monotonic()
            self._rests_until = {
                b: until for b, until in self._rests_until.items() if until > now_s
            }
            for bucket in sorted(bucket for bucket, at in self._due_at.items() if at <= now_s):
                # An hour may have been recomputed, or failed, with its day.
                if self._due_at.get(bucket, math.inf) <= now_s:
                    await self._meet(bucket)
            await self._clock.sleep(_POLL_S)

    async def _meet(self, bucket: BucketStart) -> None:
        # What an owner submits during the recomputation needs another.
        waiting = self._taken(bucket)
        met = [await self._recompute(h, self._taken(h)) for h in self._hours_of(bucket)]
        if all(met):
            await self._recompute(bucket, waiting)
        else:
            self._owe_again(bucket, waiting)

    def _taken(self, bucket: BucketStart) -> list[tuple[object, Done]]:
        self._due_at.pop(bucket, None)
        self._growing.pop(bucket, None)
        return self._owed.pop(bucket, [])

    async def _recompute(self, bucket: BucketStart, waiting: list[tuple[object, Done]]) -> bool:
        """False: it failed, and the obligation stays."""
        began_s = self._clock.monotonic()
        try:
            await self._shards.roll_up(*bucket)
        except RollUpExpired as error:
            # Recomputing would shrink the stored row, so the obligation ends with an error.
            self._metrics.sink.rollups_refused.labels(bucket.bucket).inc()
            log.warning("roll_up_refused", bucket=bucket, error=str(error))
        except TransientError as error:
            log.warning("roll_up_failed", bucket=bucket, code=error.code, error=str(error))
            self._owe_again(bucket, waiting)
            return False
        else:
            self._metrics.sink.rollups.labels(bucket.bucket).inc()
        self._rest(bucket, self._clock.monotonic() - began_s)
        for _, done in waiting:
            done()
        return True

    def _rest(self, bucket: BucketStart, took_s: float) -> None:
        until = self._clock.monotonic() + min(REST * took_s, REST_MAX_S)
        self._rests_until[bucket] = until
        if bucket in self._due_at:  # submitted during the recomputation
            self._due_at[bucket] = max(self._due_at[bucket], until)

    def _owe_again(self, bucket: BucketStart, waiting: list[tuple[object, Done]]) -> None:
        self._owed[bucket] = waiting + self._owed.get(bucket, [])
        self._due_at[bucket] = self._clock.monotonic() + _RETRY_S

    def _hours_of(self, day: BucketStart) -> list[BucketStart]:
        if day.bucket != "d1":
            return []
        inside = range(day.start_s, day.start_s + rollup.WIDTH_S["d1"])
        return sorted(
            bucket
            for bucket in self._owed
            if (bucket.shard, bucket.bucket) == (day.shard, "h1") and bucket.start_s in inside
        )


def _has(owners: Iterable[object], owner: object) -> bool:
    return any(one is owner for one in owners)


def _days_last(bucket: BucketStart) -> bool:
    return bucket.bucket == "d1"
