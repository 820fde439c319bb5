"""How many ClickHouse servers a load needs (SPEC D4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Tier:
    """Servers for fewer than ``below_per_day`` events a day, None: for any number. ``cpus``,
    ``memory_gb`` and ``disk_tb`` are of each server."""

    below_per_day: int | None
    shards: int
    replicas: int
    cpus: int
    memory_gb: int
    disk_tb: int


TIERS: Final = (
    Tier(100_000_000, shards=3, replicas=2, cpus=16, memory_gb=64, disk_tb=2),
    Tier(1_000_000_000, shards=8, replicas=2, cpus=32, memory_gb=128, disk_tb=4),
    Tier(None, shards=20, replicas=3, cpus=64, memory_gb=256, disk_tb=8),
)


def tier_of(per_day: int) -> Tier:
    """Of a load in events a day, at its busiest."""
    return next(one for one in TIERS if one.below_per_day is None or per_day < one.below_per_day)
