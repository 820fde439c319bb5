"""How an old event becomes a new one: pure steps from version n to n + 1, chained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from schemas.registry import Event, Family

Upcaster: TypeAlias = Callable[[Any], Any]
"""An event of version n in, the same event as version n + 1 out. Pure and total."""

Upcasters: TypeAlias = Mapping[tuple[str, int], Upcaster]

UPCASTERS: Upcasters = {}
"""(family, from version) -> step. A step is needed only where the next type cannot decode the
older version's bytes by itself (`schemas.compatibility` tells)."""


class Reading(NamedTuple):
    """How bytes of one version are read: decode as ``type``, then apply ``steps`` in order."""

    type: Event
    steps: tuple[Upcaster, ...]


def reading(family: Family, version: int, upcasters: Upcasters = UPCASTERS) -> Reading:
    """The way from a record of ``version`` to the family's latest event.

    Raises KeyError for a version that was never published, and where a later step is missing
    after a first one: a published version would have become unreadable.
    """
    if version not in family.versions:
        raise KeyError(f"{family.name} has no version {version}")
    first = version
    while first < family.latest and (family.name, first) not in upcasters:
        first += 1
    steps = tuple(upcasters[family.name, n] for n in range(first, family.latest))
    return Reading(family.versions[first], steps)
