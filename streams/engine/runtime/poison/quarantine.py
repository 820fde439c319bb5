"""Bounds the cost of dead letters of tenants whose records are mostly bad
(docs/protocols/poison.md).

 T1  a stay begins with Q1, and is extended while it holds
 T2  ``letters_per_s`` dead letters of the tenant hold their record
 T3  the others are pointers to the source topic

A stay is kept in memory only; after a restart the breaker finds the tenant again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

STAYS_MAX: Final = 1024
"""tenants of one partition in quarantine at once; the stay that ends first is replaced"""


@dataclass(slots=True)
class Stay:
    """Times are monotonic seconds. ``bad`` of ``records``: the breaker's last counts."""

    until_s: float
    bad: int
    records: int
    told_until_s: float = float("-inf")
    """the end that operators see (runtime/poison/quarantine_register.py)"""


class Quarantine:
    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._stays: dict[bytes, Stay] = {}
        self.changed = False
        """the published word is out of date"""

    def __len__(self) -> int:
        return len(self._stays)

    def __contains__(self, tenant: bytes) -> bool:
        return tenant in self._stays

    def __iter__(self) -> Iterator[tuple[bytes, Stay]]:
        """The longest stays first."""
        return iter(sorted(self._stays.items(), key=lambda item: -item[1].until_s))

    def hold(self, tenant: bytes, now_s: float, bad: int, records: int) -> bool:
        """T1: begin or extend a stay; True if it begins."""
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
        for tenant in [one for one, stay in self._stays.items() if stay.until_s <= now_s]:
            del self._stays[tenant]

    def told(self) -> None:
        """All stays are published."""
        for stay in self._stays.values():
            stay.told_until_s = stay.until_s
        self.changed = False
