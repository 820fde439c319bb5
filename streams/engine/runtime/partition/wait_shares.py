"""How much of an agent's time each tenant's waiting events have taken (docs/protocols/agent_waits.md).

An event of a tenant may wait as long as those of others do, four times over. What it waits beyond that is the
tenant's *excess*. All excess together drains at ``share`` seconds a second, in equal parts; a tenant with more
than ``burst_s`` left is *over* its share.
"""

from __future__ import annotations

from typing import Final

from streams.core.clock import Clock

ORDINARY: Final = 4.0
"""a wait of up to this many times the mean of the fastest other tenant is no excess"""
LEAST_S: Final = 0.01
"""nor is one of up to this time: calls that answer at once differ by as much"""
UNKNOWN_S: Final = 1.0
"""free of each wait, while no other tenant's events are known"""
TENANTS_MAX: Final = 1024
"""tenants with a mean, and with excess; more count as one"""
_NEWEST: Final = 1 / 16
"""weight of the newest wait in a mean"""
_REST: Final = "\0"


class WaitShares:
    """Of one partition. ``share``: seconds of excess a second; with 1 no tenant is over."""

    def __init__(self, clock: Clock, share: float, burst_s: float) -> None:
        self._clock = clock
        self._share = share
        self._burst_s = burst_s
        self._mean_s: dict[str, float] = {}
        self._excess_s: dict[str, float] = {}
        self._drained_at_s = clock.monotonic()
        self.strained = False
        """whether a tenant may be over"""

    def passed(self, tenant: str) -> None:
        """An event of the tenant did not wait. One of a few such events is enough."""
        if (mean_s := self._mean_s.get(tenant)) is None:
            self._learn(tenant, 0.0)
        elif mean_s:
            self._mean_s[tenant] = mean_s - mean_s * _NEWEST if mean_s > 1e-6 else 0.0

    def waited(self, tenant: str, seconds: float) -> None:
        """An event of the tenant held the agent for ``seconds``."""
        mean_s = self._mean_s.get(tenant)
        self._learn(tenant, seconds if mean_s is None else mean_s + (seconds - mean_s) * _NEWEST)
        if self._share < 1 and seconds > LEAST_S:
            self._charge(tenant, seconds - self._ordinary_s(tenant))

    def is_over(self, tenant: str) -> bool:
        if not self.strained:
            return False
        self._drain()
        self.strained = any(excess_s > self._burst_s for excess_s in self._excess_s.values())
        return self._excess_s.get(self._account(tenant), 0.0) > self._burst_s

    def knows_another(self, tenant: str) -> bool:
        return any(other != tenant for other in self._mean_s)

    def _learn(self, tenant: str, mean_s: float) -> None:
        if tenant in self._mean_s or len(self._mean_s) < TENANTS_MAX:
            self._mean_s[tenant] = mean_s

    def _ordinary_s(self, tenant: str) -> float:
        others = (mean_s for other, mean_s in self._mean_s.items() if other != tenant)
        fastest_s = min(others, default=None)
        return UNKNOWN_S if fastest_s is None else max(ORDINARY * fastest_s, LEAST_S)

    def _account(self, tenant: str) -> str:
        if tenant in self._excess_s or len(self._excess_s) < TENANTS_MAX:
            return tenant
        return _REST

    def _charge(self, tenant: str, excess_s: float) -> None:
        self._drain()
        if excess_s <= 0:
            return
        account = self._account(tenant)
        self._excess_s[account] = self._excess_s.get(account, 0.0) + excess_s
        self.strained = self.strained or self._excess_s[account] > self._burst_s

    def _drain(self) -> None:
        """One pass over the tenants, the least excess first: rounding errors cannot make it longer."""
        now_s = self._clock.monotonic()
        left_s, self._drained_at_s = (now_s - self._drained_at_s) * self._share, now_s
        drained_s, count = 0.0, len(self._excess_s)
        for excess_s in sorted(self._excess_s.values()):
            step_s = min(excess_s - drained_s, left_s / count)
            drained_s += step_s
            left_s -= step_s * count
            count -= 1
        kept = ((tenant, excess_s - drained_s) for tenant, excess_s in self._excess_s.items())
        self._excess_s = {tenant: excess_s for tenant, excess_s in kept if excess_s > 1e-9}
