"""The poison breaker: a bad deploy stops a partition, a single tenant cannot
(docs/protocols/poison.md, tests/properties/test_poison_laws.py).

 Q1  a tenant whose records are mostly bad is quarantined
 Q2  the partition stops if too many of the others are bad
 Q3  bad records of unreadable tenants belong to no tenant

A record is *bad* if it became a dead letter, except for the codes `NOT_COUNTED`, which well-formed
records can get. The partition stops before the records are committed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Final, NamedTuple

from streams.core.errors import PoisonStorm
from streams.core.records.bad_records import IdempotencyConflict, TenantOverQuota, WindowClosed
from streams.core.types import TopicPartition

NOT_COUNTED: Final = frozenset({IdempotencyConflict.code, TenantOverQuota.code, WindowClosed.code})
UNKNOWN_TENANT: Final = b""
"""the tenant of records that name none"""
TENANTS_MAX: Final = 1024
"""tenants with own counts; others count as `UNKNOWN_TENANT`"""
_SLICES: Final = 64


class PoisonLimits(NamedTuple):
    window_s: float
    min_records: int
    max_ratio: float
    min_tenants: int


@dataclass(slots=True)
class _Slice:
    """Batches of 1/64 of the window. ``seen``: records of tenants that have bad ones."""

    at_s: float
    records: int = 0
    bad: Counter[bytes] = field(default_factory=Counter)
    seen: Counter[bytes] = field(default_factory=Counter)


class PoisonBreaker:
    """For one partition; batches that begin below ``pass_until`` do not count."""

    def __init__(self, tp: TopicPartition, limits: PoisonLimits, pass_until: int = 0) -> None:
        self._tp = tp
        self._pass_until = pass_until
        self._limits = limits
        self._slices: deque[_Slice] = deque()
        self._records = 0
        self._bad: Counter[bytes] = Counter()
        self._seen: Counter[bytes] = Counter()

    def observe(
        self,
        now_s: float,
        records: int,
        bad: Mapping[bytes, int],
        of_tenants: Callable[[], Mapping[bytes, int]],
        start: int,
    ) -> Sequence[bytes]:
        """Count a batch of ``records`` from offset ``start``, folded at monotonic ``now_s``, with
        ``bad`` ones by tenant. ``of_tenants`` counts all of them by tenant, and is called only
        while the window has bad records.

        Returns the tenants that are mostly bad (Q1). Raises `PoisonStorm` (Q2).
        """
        if start < self._pass_until:
            return ()
        self._forget(now_s - self._limits.window_s)
        self._add(self._slice(now_s), records, bad, of_tenants)
        if not self._bad:
            return ()
        self._refuse_storm(start)
        limits = self._limits
        return [
            tenant
            for tenant, seen in self._seen.items()
            if seen >= limits.min_records and self._bad[tenant] > limits.max_ratio * seen
        ]

    def shares(self, tenant: bytes) -> tuple[int, int]:
        """Bad records of a tenant in the window, and all its records since the first bad one."""
        return self._bad[tenant], self._seen[tenant]

    def _slice(self, now_s: float) -> _Slice:
        length_s = self._limits.window_s / _SLICES
        if not self._slices or now_s - self._slices[-1].at_s >= length_s:
            self._slices.append(_Slice(now_s))
        return self._slices[-1]

    def _add(
        self,
        current: _Slice,
        records: int,
        bad: Mapping[bytes, int],
        of_tenants: Callable[[], Mapping[bytes, int]],
    ) -> None:
        current.records += records
        self._records += records
        for tenant, count in bad.items():
            counted = tenant in self._bad or len(self._bad) < TENANTS_MAX
            account = tenant if counted else UNKNOWN_TENANT
            current.bad[account] += count
            self._bad[account] += count
        if not self._bad:
            return
        counts = of_tenants()
        for tenant in self._bad:
            if tenant != UNKNOWN_TENANT and (count := counts.get(tenant, 0)):
                current.seen[tenant] += count
                self._seen[tenant] += count

    def _forget(self, before_s: float) -> None:
        while self._slices and self._slices[0].at_s < before_s:
            old = self._slices.popleft()
            self._records -= old.records
            self._bad -= old.bad  # drops tenants without bad records
            self._seen -= old.seen
        if len(self._seen) > len(self._bad):
            self._seen = Counter({t: n for t, n in self._seen.items() if t in self._bad})
            for kept in self._slices:
                kept.seen = Counter({t: n for t, n in kept.seen.items() if t in self._bad})

    def _refuse_storm(self, start: int) -> None:
        limits, bad = self._limits, self._bad.total()
        if self._records < limits.min_records or bad <= limits.max_ratio * self._records:
            return
        excess = (
            (count - limits.max_ratio * self._seen[tenant], tenant)
            for tenant, count in self._bad.items()
            if tenant != UNKNOWN_TENANT
        )
        worst = [tenant for over, tenant in nlargest(limits.min_tenants - 1, excess) if over > 0]
        records_left = self._records - sum(self._seen[tenant] for tenant in worst)
        bad_left = bad - sum(self._bad[tenant] for tenant in worst)
        if records_left < limits.min_records or bad_left <= limits.max_ratio * records_left:
            return
        raise PoisonStorm(
            f"{bad} of the last {self._records} records of {self._tp} are bad, of many tenants or "
            "of unreadable ones: the cause is a bad deploy, not one producer. Records from offset "
            f"{start} on are not dead-lettered. `dia dlq breaker list` shows the stopped "
            "partitions. Fix the schema and restart the worker, or turn the bad records into dead "
            "letters: `dia dlq breaker reset`.",
            offset=start,
            bad=bad,
            records=self._records,
        )
