"""Tenants whose records are mostly bad, and what becomes of their dead letters.

A quarantined tenant's good records are folded as ever, and each of its bad ones is a dead letter of
its own, so that counters, audit and replay know no exception. What is bounded is what they cost:

 T1  a stay begins when the poison breaker finds the tenant mostly bad (runtime/poison.py, Q1), lasts
     ``hold_s``, and begins anew with each batch after which it still is
 T2  during its stay ``letters_per_s`` of its dead letters a second hold their record
 T3  the others are *compact*: a pointer to the record, which stays in the source topic. Replay
     reads it there, as it does for records that are too large for the DLQ

So nothing is lost while the source's retention lasts, nobody waits, and a flood takes from the DLQ
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
    """what operators were told of its end (runtime/quarantine_register.py)"""
    allowance: float = 0.0
    filled_s: float = 0.0


class Quarantine:
    """The quarantined tenants of one partition, by the bytes of their names."""

    def __init__(self, hold_s: float, letters_per_s: float) -> None:
        self._hold_s = hold_s
        self._letters_per_s = letters_per_s
        self._stays: dict[bytes, Stay] = {}
        self.changed = False
        """operators were not told of all stays, or of their ends"""

    def __len__(self) -> int:
        return len(self._stays)

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
            stay = self._stays[tenant] = Stay(
                0.0, bad, records, allowance=self._letters_per_s, filled_s=now_s
            )
        stay.until_s, stay.bad, stay.records = now_s + self._hold_s, bad, records
        if stay.until_s - stay.told_until_s > self._hold_s / 2:
            self.changed = True
        return begins

    def pass_time(self, now_s: float) -> None:
        """End the stays that are over."""
        for tenant in [one for one, stay in self._stays.items() if stay.until_s <= now_s]:
            del self._stays[tenant]

    def compact(self, tenant: bytes, now_s: float) -> bool:
        """T2, T3: whether the tenant's next dead letter goes without its record."""
        stay = self._stays.get(tenant)
        if stay is None:
            return False
        rate = self._letters_per_s
        stay.allowance = min(rate, stay.allowance + rate * (now_s - stay.filled_s))
        stay.filled_s = now_s
        if stay.allowance < 1:
            return True
        stay.allowance -= 1
        return False

    def told(self) -> None:
        """Operators know of every stay."""
        for stay in self._stays.values():
            stay.told_until_s = stay.until_s
        self.changed = False
