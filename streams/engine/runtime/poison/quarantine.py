"""Tenants whose records are mostly bad, and what becomes of their dead letters.

A quarantined tenant's good records are folded as ever, and each of its bad ones is a dead letter of
its own, so that counters, audit and replay know no exception. What is bounded is what they cost:

 T1  a stay begins when the poison breaker finds the tenant mostly bad (runtime/poison/poison.py, Q1), lasts
     ``hold_s``, and begins anew with each batch after which it still is
 T2  during its stay ``letters_per_s`` of its dead letters a second hold their record. So do at any
     time those of codes that the breaker does not count, of which there may be as many
 T3  the others are *compact*: a pointer to the record, which stays in the source topic. Replay
     reads it there, as it does for records that are too large for the DLQ

So nothing is lost while the source's retention lasts, no other tenant waits, and a flood takes from the DLQ
the room of its pointers, which compress to a fraction of a letter. A stay changes no verdict; it is
kept in memory only, and a restart begins it anew once the breaker has seen the tenant again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

STAYS_MAX: Final = 1024
"""Tenants of one partition that are in quarantine at once; the stay that ends first makes room."""


@dataclass(slots=True)
class Stay:
    """Times are monotonic seconds. ``bad`` of ``records`` is what the breaker saw last."""

    until_s: float
    bad: int
    records: int
    told_until_s: float = float("-inf")
    """the end that operators see (runtime/poison/quarantine_register.py)"""


class LetterRate:
    """How many dead letters of each tenant hold their record: ``per_s``, and as many at once."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._left: dict[bytes, tuple[float, float]] = {}
        """what was left, and when"""

    def take(self, tenant: bytes, now_s: float) -> bool:
        """Whether the tenant's next letter may hold its record."""
        if tenant not in self._left and len(self._left) >= STAYS_MAX:
            self._left.clear()
        left, then_s = self._left.get(tenant, (self._per_s, now_s))
        left = min(self._per_s, left + self._per_s * (now_s - then_s))
        self._left[tenant] = left - (left >= 1), now_s
        return left >= 1


class Quarantine:
    """The quarantined tenants of one partition, by the bytes of their names."""

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._stays: dict[bytes, Stay] = {}
        self.changed = False
        """operators do not see all stays yet, or their ends"""

    def __len__(self) -> int:
        return len(self._stays)

    def __contains__(self, tenant: bytes) -> bool:
        return tenant in self._stays

    def __iter__(self) -> Iterator[tuple[bytes, Stay]]:
        """Those that stay longest come first."""
        return iter(sorted(self._stays.items(), key=lambda item: -item[1].until_s))

    def hold(self, tenant: bytes, now_s: float, bad: int, records: int) -> bool:
        """T1: the tenant was found mostly bad; True where its stay begins."""
        stay = self._stays.get(tenant)
        begins = stay is None
        if stay is None:
            if len(self._stays) >= STAYS_MAX:
                del self._stays[min(self._stays, key=lambda one: self._stays[one].until_s)]
            stay = self._stays[tenant] = Stay(0.0, bad, records)
        stay.until_s, stay.bad, stay.records = now_s + self._hold_s, bad, records
        if stay.until_s - stay.told_until_s > self._hold_s / 2:
            self.changed = True
        return begins

    def pass_time(self, now_s: float) -> None:
        """End the stays that are over."""
        for tenant in [one for one, stay in self._stays.items() if stay.until_s <= now_s]:
            del self._stays[tenant]

    def told(self) -> None:
        """Operators know of every stay."""
        for stay in self._stays.values():
            stay.told_until_s = stay.until_s
        self.changed = False
