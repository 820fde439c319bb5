"""A shard map with the days of which it places windows (docs/protocols/shard_maps.md, shard_moves.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

ShardOf: TypeAlias = Callable[[Sequence[str], Sequence[str], Sequence[str]], NDArray[np.int32]]
"""Shard of each series, given tenants, models and metrics as parallel sequences."""

ShardOfKey: TypeAlias = Callable[[str], int]
"""Shard of a row by the text of its key."""

DAY_S = 86_400


def shard_key_text(values: Iterable[Any]) -> str:
    """What a `ShardOfKey` takes of a row: its values of ``shard_by``."""
    return "\0".join(map(str, values))


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
    for the first map. ``last_day``: of a move, the last one; None: a map without end.

    Of a move's days: ``unfinished`` ones are neither moved nor given up, ``returned`` ones are
    given up."""

    identity: MapIdentity
    shards: int
    shard_of: ShardOf
    shard_of_key: ShardOfKey
    first_day: int = 0
    last_day: int | None = None
    unfinished: frozenset[int] = frozenset()
    returned: frozenset[int] = frozenset()

    def moves(self, day: int) -> bool:
        """Whether it is a move of this day."""
        return self.last_day is not None and self.first_day <= day <= self.last_day
