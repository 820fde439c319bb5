"""How many live states of `app.windows` each tenant has begun: the rule of shares.py for windows.

The owner of a state is the tenant of the record that began it. Owners are kept in memory only: after a
restart the states that are there count for no tenant, and take room from all tenants until their windows
close. Records that name no tenant begin states of no owner, which nothing refuses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streams.core.topics.topic import tenant_of
from streams.engine.state.shares import Holdings, room


class Tenants:
    """The tenant of each record of a batch, read on access; "" for a record that names none."""

    def __init__(self, events: Sequence[Any], rows: NDArray[np.int64] | None = None) -> None:
        self._events = events
        self._rows = rows

    def __getitem__(self, row: int) -> str:
        return tenant_of(self._events[row if self._rows is None else int(self._rows[row])])

    def take(self, rows: NDArray[np.int64]) -> Tenants:
        return Tenants(self._events, rows if self._rows is None else self._rows[rows])


class StateShares:
    """Of one window table in one partition."""

    def __init__(self) -> None:
        self._owner: list[str] = []
        """by slot; "": none"""
        self._held = Holdings()

    def held(self, tenant: str) -> int:
        return self._held[tenant]

    def suffice(self, count: int, alive: int, bound: int) -> bool:
        """Whether every tenant may begin ``count`` states more, with ``alive`` of ``bound`` there."""
        if room(bound, 0, alive + count, alive) >= count:
            return True
        return room(bound, 0, alive + count, max(self._held.values(), default=0)) >= count

    def take(self, slot: int, tenant: str) -> None:
        """The tenant began the state in this slot."""
        if tenant:
            self._owner += [""] * (slot + 1 - len(self._owner))
            self._owner[slot] = self._held.name(tenant)
            self._held[tenant] += 1

    def give_back(self, slots: Iterable[int]) -> None:
        """These states were deleted."""
        for slot in slots:
            tenant = self._owner[slot] if slot < len(self._owner) else ""
            if tenant:
                self._owner[slot] = ""
                self._held.give_back(tenant)


class Begins(Protocol):
    """Which records of a batch begin a state after those before them that were placed."""

    def begins(self, row: int) -> bool: ...

    def place(self, row: int) -> None:
        """The record is folded."""
        ...


class ShareCheck:
    """Of one batch in one table that may run short. ``rows``: the records that the table would fold,
    in log order; ``begins`` counts them from 0. ``alive`` of ``bound`` states are there."""

    def __init__(
        self, shares: StateShares, begins: Begins, rows: NDArray[np.int64], alive: int, bound: int
    ) -> None:
        self._shares = shares
        self._begins = begins
        self._places = dict(zip(rows.tolist(), range(len(rows)), strict=True))
        self._alive = alive
        self._bound = bound
        self._taken: Counter[str] = Counter()

    def refuses(self, row: int, tenant: str) -> bool:
        """Whether the record would begin a state beyond the share of its tenant."""
        if not tenant or not self._would_begin(row):
            return False
        held = self._shares.held(tenant) + self._taken[tenant]
        return room(self._bound, 0, self._alive, held) < 1

    def place(self, row: int, tenant: str) -> None:
        """The record is folded."""
        if self._would_begin(row):
            self._alive += 1
            self._taken[tenant] += 1
        if row in self._places:
            self._begins.place(self._places[row])

    def _would_begin(self, row: int) -> bool:
        return row in self._places and self._begins.begins(self._places[row])


def refused_rows(
    checks: Mapping[str, ShareCheck], rows: Iterable[int], tenants: Tenants
) -> Iterator[tuple[int, str]]:
    """The records that some table refuses, and the name of one that does. No table folds them."""
    for row in rows:
        tenant = tenants[row]
        full = next((name for name, check in checks.items() if check.refuses(row, tenant)), None)
        if full is not None:
            yield row, full
            continue
        for check in checks.values():
            check.place(row, tenant)
