"""The quota rule: how much of a partition's bound one tenant may hold.

All tenants of a partition share each *bound*: event ids, series, models, bytes of outcomes, waiting
requests. A tenant may take one more

 (a) within its own ``quota``, if it has one, and
 (b) while it holds no more than what is free.

(b) is the dynamic threshold of shared buffers (A. K. Choudhury, E. L. Hahne, Dynamic Queue Length
Thresholds for Shared-Memory Packet Switches, IEEE/ACM Transactions on Networking 6(2), 1998). One
tenant alone gets half of the bound; k greedy tenants leave 1/2^k of it, and the next gets half of
that. So the bound is never reached (tests/properties/test_share_laws.py).

A refused record is a dead letter `over_quota`. The tables remember nothing of it, so a replay is
not a duplicate.
"""

from __future__ import annotations

from collections import Counter


def room(bound: int, quota: int, total: int, held: int) -> int:
    """How many more a tenant with ``held`` of ``total`` may take; ``quota`` 0: no quota."""
    fair = (bound - total - held + 1) // 2
    return max(0, min(quota - held, fair) if quota else fair)


class Holdings(Counter[str]):
    """How much each tenant holds; a tenant that holds nothing has no entry."""

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[str, str] = {}

    def name(self, tenant: str) -> str:
        """One text for all that a tenant holds: each event brings a text of its own."""
        return self._names.setdefault(tenant, tenant)

    def give_back(self, tenant: str, count: int = 1) -> None:
        left = self[tenant] - count
        if left:
            self[tenant] = left
        else:
            del self[tenant]
            self._names.pop(tenant, None)


class Shares:
    """What each tenant holds. ``unowned``: held by no known tenant."""

    def __init__(self, bound: int, quota: int = 0) -> None:
        self.bound = bound
        self.quota = quota
        self.unowned = 0
        self._held = Holdings()
        self._owned = 0

    @property
    def total(self) -> int:
        return self._owned + self.unowned

    def held(self, tenant: str) -> int:
        return self._held.get(tenant, 0)

    def room(self, tenant: str, others: int = 0) -> int:
        """How many more the tenant may take when ``others`` are about to be taken."""
        total = self._owned + self.unowned + others
        return room(self.bound, self.quota, total, self._held.get(tenant, 0))

    def take(self, tenant: str, count: int = 1) -> None:
        self._held[tenant] = self._held.get(tenant, 0) + count
        self._owned += count

    def give_back(self, tenant: str, count: int = 1) -> None:
        self._held.give_back(tenant, count)
        self._owned -= count
