"""A shard map with the day from which it places windows (docs/protocols/shard_maps.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

ShardOf: TypeAlias = Callable[[Sequence[str], Sequence[str], Sequence[str]], NDArray[np.int32]]
"""Shard of each series, given tenants, models and metrics as parallel sequences."""

DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class MapIdentity:
    """Identity of a shard map, stored by every server and changelog: maps of one ``digest`` have
    the same placement. ``description`` is for people."""

    digest: str
    description: str

    def __str__(self) -> str:
        return f"{self.digest} {self.description}"

    @classmethod
    def parse(cls, text: str) -> MapIdentity:
        digest, _, description = text.partition(" ")
        return cls(digest, description)


@dataclass(frozen=True, slots=True)
class DatedMap:
    """``first_day``: its planned first UTC day of window time, in days since 1970; 0
    for the first map."""

    identity: MapIdentity
    shards: int
    shard_of: ShardOf
    first_day: int = 0
