"""How degraded the service is, as the console sees it: the one place that asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from streams.resilience.breaker import Breaker

CACHES_ONLY: Final = 2
NAMES: Final = ("normal", "warned", "read_only", "static")


class Level(NamedTuple):
    """``level`` 0 to 3; ``reasons`` are sentences for people."""

    level: int
    reasons: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return NAMES[self.level]


def of_breakers(breakers: Sequence[Breaker]) -> Level:
    """1 while some shard is left alone: its questions are answered from caches, others as ever;
    `CACHES_ONLY` while all are."""
    open_now = [breaker.dependency for breaker in breakers if breaker.state == "open"]
    if not open_now:
        return Level(0)
    reasons = tuple(f"{name} fails again and again" for name in open_now)
    return Level(CACHES_ONLY if len(open_now) == len(breakers) else 1, reasons)
