"""A quota of dead letters that hold their record, for one tenant in one partition
(docs/protocols/poison.md, L1 to L3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog

from streams.core.types import TopicPartition
from streams.engine.runtime.poison.letter_rate import TENANTS_MAX, LetterRate

PERIOD_S: Final = 3600.0
OVER_S: Final = 600.0
"""A tenant is shown as over its quota for so long after its last letter beyond it."""
NAMES_MAX: Final = 4
_NAME_CHARS: Final = 80

log = structlog.get_logger(__name__)


class LetterQuota:
    """``letters`` within `PERIOD_S`; 0: no bound."""

    def __init__(self, tp: TopicPartition, letters: int) -> None:
        self._tp = tp
        self._letters = letters
        self._rate = LetterRate(letters, PERIOD_S)
        self._over: dict[bytes, float] = {}
        """until when a tenant is shown; the one that was over last stands last"""

    def __bool__(self) -> bool:
        return self._letters > 0

    def take(self, tenant: bytes, now_s: float) -> bool:
        """False: beyond the quota; nothing is taken."""
        if self._rate.take(tenant, now_s):
            return True
        begins = self._over.pop(tenant, 0.0) <= now_s
        if len(self._over) >= TENANTS_MAX:
            del self._over[next(iter(self._over))]
        self._over[tenant] = now_s + OVER_S
        if begins:
            log.warning(
                "letters_over_quota", tp=str(self._tp), tenant=_named(tenant), quota=self._letters
            )
        return False

    def over(self, now_s: float) -> Sequence[str]:
        """The names of tenants over their quota, the newest first; "" is that of unreadable ones."""
        while self._over and self._over[oldest := next(iter(self._over))] <= now_s:
            del self._over[oldest]
        return [_named(tenant) for tenant in reversed(self._over)]


def _named(tenant: bytes) -> str:
    return tenant.decode(errors="replace")[:_NAME_CHARS]
