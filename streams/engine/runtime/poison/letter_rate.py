"""How many dead letters of each tenant hold their record (docs/protocols/poison.md, T2 and L1)."""

from __future__ import annotations

from typing import Final

TENANTS_MAX: Final = 1024
"""accounts; tenants beyond them share one"""
_OTHERS: Final = b""
"""their account, and that of records whose tenant cannot be read"""


class LetterRate:
    """``letters`` within ``period_s`` for each tenant: a bucket that fills evenly. So a span of s seconds
    holds at most ``letters * (1 + s / period_s)``."""

    def __init__(self, letters: float, period_s: float = 1.0) -> None:
        self._letters = letters
        self._per_s = letters / period_s
        self._period_s = period_s
        self._left: dict[bytes, tuple[float, float]] = {}
        """letters left, and when"""
        self._pruned_s = float("-inf")

    def take(self, tenant: bytes, now_s: float) -> bool:
        """False: nothing is left, and nothing is taken."""
        if tenant not in self._left and len(self._left) >= TENANTS_MAX - 1:
            tenant = self._with_room(tenant, now_s)
        left, then_s = self._left.get(tenant, (self._letters, now_s))
        left = min(self._letters, left + self._per_s * (now_s - then_s))
        self._left[tenant] = left - (left >= 1), now_s
        return left >= 1

    def _with_room(self, tenant: bytes, now_s: float) -> bytes:
        """Forget accounts that are full again, a few times a period: they say what a new one does."""
        if now_s >= self._pruned_s + self._period_s / 16:
            self._pruned_s = now_s
            self._left = {
                one: (left, then_s)
                for one, (left, then_s) in self._left.items()
                if left + self._per_s * (now_s - then_s) < self._letters
            }
        return tenant if len(self._left) < TENANTS_MAX - 1 else _OTHERS
