"""Counts failed authentications by client address and claimed token id.

A secret has 256 random bits, so this bounds log lines and CPU, not guessing. An id is counted with
its address, so no client can lock out the holder of a token."""

from __future__ import annotations

from typing import Final

from streams.connect.access.refusals import RateLimited, TooManyAttempts
from streams.connect.access.request_rate import RequestRate
from streams.core.clock import Clock

PERIOD_S: Final = 300.0
ADDRESS_MAX: Final = 100
TOKEN_MAX: Final = 10


class Attempts:
    """At most `ADDRESS_MAX` failures of an address and `TOKEN_MAX` of a token id from it, within
    `PERIOD_S`."""

    def __init__(self, clock: Clock) -> None:
        self._addresses = RequestRate(clock, limit=ADDRESS_MAX, period_s=PERIOD_S)
        self._tokens = RequestRate(clock, limit=TOKEN_MAX, period_s=PERIOD_S)

    def require(self, address: str, token_id: str) -> None:
        """Raises `TooManyAttempts` when no attempt is left."""
        for rate, name in ((self._addresses, address), (self._tokens, f"{address} {token_id}")):
            wait_s = _wait_s(rate, name)
            if wait_s > 0:
                raise _too_many(wait_s)

    def failed(self, address: str, token_id: str = "") -> None:
        """Raises `TooManyAttempts` at the first failure beyond the bound."""
        wait_s = _wait_s(self._addresses, address, count=True)
        if wait_s > 0:
            raise _too_many(wait_s)
        if token_id:
            _wait_s(self._tokens, f"{address} {token_id}", count=True)


def _wait_s(rate: RequestRate, name: str, *, count: bool = False) -> float:
    """Seconds until one more fits; 0 counts it. A name beyond the table's capacity is not counted:
    a flood of addresses locks out no client."""
    try:
        wait_s = rate.wait_s(name)
    except RateLimited:
        return 0.0
    if count and not wait_s:
        rate.charge(name)
    return wait_s


def _too_many(wait_s: float) -> TooManyAttempts:
    return TooManyAttempts(
        "too many attempts without a valid token from this address", retry_after_s=wait_s
    )
