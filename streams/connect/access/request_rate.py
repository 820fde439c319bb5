"""Rate limit by client: a leaky bucket as one number (GCRA, ITU-T I.371)."""

from __future__ import annotations

from streams.connect.access.refusals import RateLimited
from streams.core.clock import Clock

CLIENTS_MAX = 10_000


class RequestRate:
    """``limit`` units within ``period_s`` seconds for each client, bursts allowed. The stored
    number is the moment when the bucket is empty; then the client is removed."""

    def __init__(self, clock: Clock, *, limit: int, period_s: float) -> None:
        self._clock = clock
        self._spacing_s = period_s / limit
        self._period_s = period_s
        self._empty_at: dict[str, float] = {}

    def take(self, client: str, cost: int = 1) -> None:
        """At most the limit. Raises `RateLimited` with the seconds to wait."""
        wait_s = self.wait_s(client, cost)
        if wait_s > 0:
            raise RateLimited("too many requests of this client", retry_after_s=wait_s)
        self.charge(client, cost)

    def wait_s(self, client: str, cost: int = 1) -> float:
        """0 when ``cost`` units fit, else the seconds until they do. Raises `RateLimited` for a new
        client while the table is full."""
        now = self._clock.monotonic()
        if client not in self._empty_at and len(self._empty_at) >= CLIENTS_MAX:
            self._forget(now)
        empty_at = max(now, self._empty_at.get(client, now))
        wait_s = empty_at + cost * self._spacing_s - now - self._period_s
        # Rounding of doubles: a client that waits exactly as long as required must pass.
        return wait_s if wait_s > 1e-9 else 0.0

    def charge(self, client: str, cost: int = 1) -> None:
        """In any case, up to twice the limit."""
        now = self._clock.monotonic()
        empty_at = max(now, self._empty_at.get(client, now)) + cost * self._spacing_s
        self._empty_at[client] = min(empty_at, now + 2 * self._period_s)

    def give_back(self, client: str, cost: int = 1) -> None:
        """Undo the last `charge`: another limit refused the request."""
        if client in self._empty_at:
            self._empty_at[client] -= cost * self._spacing_s

    def _forget(self, now: float) -> None:
        self._empty_at = {name: at for name, at in self._empty_at.items() if at > now}
        if len(self._empty_at) >= CLIENTS_MAX:
            raise RateLimited("too many clients at once", retry_after_s=self._spacing_s)
