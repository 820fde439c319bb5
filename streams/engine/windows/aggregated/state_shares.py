"""Judges which records of a batch add to the states of `app.windows` beyond the share of their tenant, before
any is folded (streams/engine/windows/aggregated/state_owners.py).

A record counts as what it begins, and what it adds at most to its state as the batch found it. So a tenant is
never over its share; a batch that has a new value twice counts it twice until the batch is folded. Records that
name no tenant are those of one tenant; in a topic without tenants they are refused nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streams.core.topics.topic import tenant_of
from streams.engine.state.shares import room
from streams.engine.windows.aggregated.state_owners import StateOwners


class Tenants:
    """The tenant of each record of a batch, read on access by ``named``; "" for a record that names
    none. ``rows``: a selection of the records."""

    def __init__(self, named: Callable[[int], str], rows: NDArray[np.int64] | None = None) -> None:
        self._named = named
        self._rows = rows

    @classmethod
    def of(cls, events: Sequence[Any]) -> Tenants:
        return cls(lambda row: tenant_of(events[row]))

    def __getitem__(self, row: int) -> str:
        return self._named(row if self._rows is None else int(self._rows[row]))

    def take(self, rows: NDArray[np.int64]) -> Tenants:
        return Tenants(self._named, rows if self._rows is None else self._rows[rows])


class Begins(Protocol):
    """Which records of a batch begin a state after those before them that were placed."""

    def begins(self, row: int) -> bool: ...

    def place(self, row: int) -> None:
        """The record is folded."""
        ...


@dataclass(frozen=True, slots=True)
class Added:
    """What records add to a table. ``begins`` and the lists count them from 0: bytes of the state that
    each may begin, and bytes that it adds to a state at most."""

    begins: Begins
    begun: list[int]
    grown: list[int]


class ShareCheck:
    """Of one batch in one table that may run short. ``rows``: the records that the table would fold, in
    log order."""

    def __init__(
        self, name: str, owners: StateOwners, rows: NDArray[np.int64], added: Added
    ) -> None:
        self._name = name
        self._owners = owners
        self._places = dict(zip(rows.tolist(), range(len(rows)), strict=True))
        self._added = added
        self._total = owners.total
        self._common = owners.common
        self._taken: Counter[str] = Counter()

    def refusal(self, row: int, tenant: str) -> str:
        """Why the record is beyond the share of its tenant; "": it is not."""
        if not tenant and not self._owners.named:
            return ""
        own, common = self._adds(row)
        held = self._owners.held(tenant) + self._taken[tenant]
        if own and own > self._room(0, held):
            whose = f"tenant {tenant!r} has its" if tenant else "events without a tenant have their"
            return self._over(f"{whose} share of the states", held, own)
        if common and common > self._room(own, self._common):
            why = "what its states, whose keys name no tenant, grow by has its share"
            return self._over(why, self._common, common)
        return ""

    def _room(self, before: int, held: int) -> int:
        return room(self._owners.bound, 0, self._total + before, held)

    def _over(self, why: str, held: int, count: int) -> str:
        return (
            f"{why} of windows {self._name!r} in one partition: {held} of {self._owners.bound} bytes "
            f"(DIA_MAX_TABLE_BYTES) are held, and this record may add {count}. Replay it when windows "
            "have closed, or raise the bound"
        )

    def place(self, row: int, tenant: str) -> None:
        """The record is folded."""
        if row not in self._places:
            return
        own, common = self._adds(row)
        self._total += own + common
        self._common += common
        self._taken[tenant] += own
        self._added.begins.place(self._places[row])

    def _adds(self, row: int) -> tuple[int, int]:
        """Bytes for the tenant, and for all tenants in common."""
        place = self._places.get(row)
        if place is None:
            return 0, 0
        added = self._added
        begun = added.begun[place] if added.begins.begins(place) else 0
        grown = added.grown[place]
        return (begun + grown, 0) if self._owners.in_key else (begun, grown)


def refused_rows(
    checks: Sequence[ShareCheck], rows: Iterable[int], tenants: Tenants
) -> Iterator[tuple[int, str]]:
    """The records that some table refuses, and why. No table folds them."""
    for row in rows:
        tenant = tenants[row]
        why = next(filter(None, (check.refusal(row, tenant) for check in checks)), "")
        if why:
            yield row, why
            continue
        for check in checks:
            check.place(row, tenant)
