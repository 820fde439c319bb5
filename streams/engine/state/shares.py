"""How much one tenant may hold of what a partition can hold: the rule of every quota.

A partition has a *bound* of event ids, series, models, bytes of outcomes, waiting requests. All
tenants of the partition share it. A tenant may take one more

 (a) within its own ``quota``, if it has one, and
 (b) while it holds no more than what is free.

(b) is the dynamic threshold of shared buffers (A. K. Choudhury, E. L. Hahne, Dynamic Queue Length
Thresholds for Shared-Memory Packet Switches, IEEE/ACM Transactions on Networking 6(2), 1998). One
tenant alone comes to half of the bound, and k that take all they can get leave 1/2^k of it, of which
the next one gets half. So the bound is never reached: it is a size of memory, and not for a tenant to
use up (tests/properties/test_share_laws.py).

What is refused is a dead letter `over_quota`. Nothing of it is remembered, so that a replay of it, once
the tenant holds less, is the first to bring it.
"""

from __future__ import annotations

from collections import Counter


def room(bound: int, quota: int, total: int, held: int) -> int:
    """How many more a tenant that holds ``held`` of ``total`` may take; ``quota`` 0: no quota."""
    fair = (bound - total - held + 1) // 2
    return max(0, min(quota - held, fair) if quota else fair)


class Shares:
    """What each tenant holds. ``unowned`` is held by no known tenant."""

    def __init__(self, bound: int, quota: int = 0) -> None:
        self.bound = bound
        self.quota = quota
        self.unowned = 0
        self._held: Counter[str] = Counter()
        self._owned = 0

    @property
    def total(self) -> int:
        return self._owned + self.unowned

    def held(self, tenant: str) -> int:
        return self._held[tenant]

    def room(self, tenant: str, others: int = 0) -> int:
        """How many more the tenant may take, where ``others`` are about to be taken."""
        return room(self.bound, self.quota, self.total + others, self._held[tenant])

    def take(self, tenant: str, count: int = 1) -> None:
        self._held[tenant] += count
        self._owned += count

    def give_back(self, tenant: str, count: int = 1) -> None:
        self._held[tenant] -= count
        self._owned -= count
        if not self._held[tenant]:
            del self._held[tenant]
