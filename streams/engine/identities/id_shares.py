"""How many of a partition's remembered event ids each tenant has brought.

An id is known by its hash alone (streams/engine/windows/fingerprint.py), so its tenant is counted when it comes, in
slices of log time, and uncounted when the slice is older than what is remembered. The counts are
kept in memory only: after a restart the ids that are alive count for no tenant. They take room from all
tenants until they are forgotten, and the rule of streams/engine/state/shares.py leaves some to each.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.engine.state.shares import Shares, room

SLICES: Final = 32
"""Slices of a TTL: an id counts for up to so much of the TTL longer than it is remembered."""


class Owners(NamedTuple):
    """Whose each event of a batch is: ``names[codes[i]]``."""

    codes: NDArray[np.int64]
    names: Sequence[str]


class _Slice:
    def __init__(self, began_ms: int) -> None:
        self.began_ms = began_ms
        self.latest_ms = began_ms
        self.counts: Counter[str] = Counter()


class IdShares:
    """Of one partition."""

    def __init__(self, ttl_ms: int, bound: int, quota: int) -> None:
        self._shares = Shares(bound, quota)
        self._slice_ms = max(1, ttl_ms // SLICES)
        self._slices: deque[_Slice] = deque()
        self._waiting = np.zeros(0, np.int64)
        """by code of ``_waiting_names``, ids of ``_waiting_slice`` that are not counted yet"""
        self._waiting_total = 0
        self._waiting_names: Sequence[str] = ()
        self._waiting_slice: _Slice | None = None

    def suffice(self, count: int, alive: int) -> bool:
        """Whether ``count`` more ids are within the share of each tenant, whosever they are: where there
        is no quota and so much of the bound is free that no tenant need be looked at. A tenant holds at
        most what all are counted for, which may be more than are alive: slices outlive ids."""
        shares = self._shares
        counted = shares.total - shares.unowned + self._waiting_total
        return not shares.quota and room(shares.bound, 0, alive + count, counted) >= count

    def take_all(
        self, codes: NDArray[np.int64], names: Sequence[str], alive: int, at_ms: int
    ) -> None:
        """Count events that `suffice` said are within the shares, as `take` does; tenants are looked up
        when a share is next asked for."""
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
        """Count what waits for its tenants."""
        if self._waiting_total and self._waiting_slice is not None:
            for code in np.flatnonzero(self._waiting).tolist():
                tenant, count = self._waiting_names[code], int(self._waiting[code])
                self._shares.take(tenant, count)
                self._waiting_slice.counts[tenant] += count
        self._waiting, self._waiting_total = np.zeros(0, np.int64), 0

    def take(
        self, fresh: NDArray[np.intp], owners: Owners, alive: int, at_ms: int
    ) -> NDArray[np.intp] | None:
        """Count the events at the indexes ``fresh``, in log order, for their tenants. Returns those
        that are beyond what a tenant may bring, and do not count; None where none is.

        ``alive`` ids are remembered before them; ``at_ms`` is the log time of the last one.
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
        """What lies before the horizon in log time is not remembered any more."""
        if self._slices and self._slices[0].latest_ms < horizon_ms:
            self._settle()
        while self._slices and self._slices[0].latest_ms < horizon_ms:
            for tenant, count in self._slices.popleft().counts.items():
                self._shares.give_back(tenant, count)
