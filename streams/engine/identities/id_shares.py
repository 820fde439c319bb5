"""Counts the remembered event ids of each tenant in a partition, in slices of log time: the table
knows ids by hash only. Counts are in memory: after a restart remembered ids belong to no tenant and
take room from all (streams/engine/state/shares.py)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.engine.state.shares import Shares, room

SLICES: Final = 32
"""slices of a TTL: an id counts up to one slice longer than it is remembered"""


class Owners(NamedTuple):
    """The tenant of each event of a batch: ``names[codes[i]]``."""

    codes: NDArray[np.int64]
    names: Sequence[str]


class _Slice:
    def __init__(self, began_ms: int) -> None:
        self.began_ms = began_ms
        self.latest_ms = began_ms
        self.counts: Counter[str] = Counter()


class IdShares:
    def __init__(self, ttl_ms: int, bound: int, quota: int) -> None:
        self._shares = Shares(bound, quota)
        self._slice_ms = max(1, ttl_ms // SLICES)
        self._slices: deque[_Slice] = deque()
        self._waiting = np.zeros(0, np.int64)
        """uncounted ids of ``_waiting_slice``, by code of ``_waiting_names``"""
        self._waiting_total = 0
        self._waiting_names: Sequence[str] = ()
        self._waiting_slice: _Slice | None = None

    def suffice(self, count: int, alive: int) -> bool:
        """Whether ``count`` more ids are within the share of any tenant, so none must be looked up:
        there is no quota and enough of the bound is free. A tenant holds at most what all are
        counted for, which may exceed the ids alive: slices outlive ids."""
        shares = self._shares
        counted = shares.total - shares.unowned + self._waiting_total
        return not shares.quota and room(shares.bound, 0, alive + count, counted) >= count

    def take_all(
        self, codes: NDArray[np.int64], names: Sequence[str], alive: int, at_ms: int
    ) -> None:
        """Count events after `suffice`, as `take` does; tenants are looked up later."""
        self._shares.unowned += alive - self._shares.total - self._waiting_total
        current = self._slice(at_ms)
        if names is not self._waiting_names or current is not self._waiting_slice:
            self._settle()
            self._waiting_names, self._waiting_slice = names, current
        counts = np.bincount(codes, minlength=len(self._waiting))
        counts[: len(self._waiting)] += self._waiting
        self._waiting = counts
        self._waiting_total += len(codes)

    def _settle(self) -> None:
        if self._waiting_total and self._waiting_slice is not None:
            for code in np.flatnonzero(self._waiting).tolist():
                tenant, count = self._waiting_names[code], int(self._waiting[code])
                self._shares.take(tenant, count)
                self._waiting_slice.counts[tenant] += count
        self._waiting, self._waiting_total = np.zeros(0, np.int64), 0

    def take(
        self, fresh: NDArray[np.intp], owners: Owners, alive: int, at_ms: int
    ) -> NDArray[np.intp] | None:
        """Count the events at the indexes ``fresh``, in log order, by tenant; the indexes beyond a
        tenant's share, which are not counted (None: none).

        ``alive``: ids remembered before; ``at_ms``: log time of the last event.
        """
        self._settle()
        shares, counts = self._shares, np.bincount(owners.codes[fresh])
        shares.unowned += alive - shares.total
        current = self._slice(at_ms)
        beyond: list[NDArray[np.intp]] = []
        for code in np.flatnonzero(counts).tolist():
            tenant, wanted = owners.names[code], int(counts[code])
            taken = min(wanted, shares.room(tenant))
            if taken < wanted:
                beyond.append(fresh[owners.codes[fresh] == code][taken:])
            if taken:
                shares.take(tenant, taken)
                current.counts[tenant] += taken
        return np.concatenate(beyond) if beyond else None

    def _slice(self, at_ms: int) -> _Slice:
        if not self._slices or at_ms - self._slices[-1].began_ms >= self._slice_ms:
            self._slices.append(_Slice(at_ms))
        current = self._slices[-1]
        current.latest_ms = max(current.latest_ms, at_ms)
        return current

    def forget(self, horizon_ms: int) -> None:
        if self._slices and self._slices[0].latest_ms < horizon_ms:
            self._settle()
        while self._slices and self._slices[0].latest_ms < horizon_ms:
            for tenant, count in self._slices.popleft().counts.items():
                self._shares.give_back(tenant, count)
