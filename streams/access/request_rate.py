"""How often each client may ask: a leaky bucket as a single number a client (GCRA, ITU-T I.371)."""

from __future__ import annotations

from streams.access.refusals import RateLimited
from streams.clock import Clock

CLIENTS_MAX = 10_000


class RequestRate:
    """``limit`` requests in ``period_s`` seconds for each client, all at once if it likes.

    Remembered for a client is the moment its bucket will be empty again; one whose bucket is
    empty is forgotten.
    """

    def __init__(self, clock: Clock, *, limit: int, period_s: float) -> None:
        self._clock = clock
        self._spacing_s = period_s / limit
        self._depth_s = period_s - self._spacing_s
        self._empty_at: dict[str, float] = {}

    def take(self, client: str) -> None:
        """Count one request. Raises `RateLimited`, saying when the next one may come."""
        now = self._clock.monotonic()
        if client not in self._empty_at and len(self._empty_at) >= CLIENTS_MAX:
            self._forget(now)
        empty_at = max(now, self._empty_at.get(client, now))
        wait_s = empty_at - now - self._depth_s
        # Sums of doubles: a client that came back exactly when told to must be let in.
        if wait_s > 1e-9:
            raise RateLimited("too many requests of this client", retry_after_s=wait_s)
        self._empty_at[client] = empty_at + self._spacing_s

    def give_back(self, client: str) -> None:
        """Uncount the request of the last `take`: something else refused it."""
        if client in self._empty_at:
            self._empty_at[client] -= self._spacing_s

    def _forget(self, now: float) -> None:
        self._empty_at = {name: at for name, at in self._empty_at.items() if at > now}
        if len(self._empty_at) >= CLIENTS_MAX:
            raise RateLimited("too many clients at once", retry_after_s=self._spacing_s)
