"""Which tenant owns the bytes of each live state of `app.windows`: the rule of shares.py in bytes
(docs/protocols/bounds.md, "Bytes of tables").

A state belongs to the tenant of the record that began it, with all bytes if the tenant is a part of its
key. Else records of several tenants make it grow, and what all such states of a table grew by counts as one
further tenant's, `common`. Records that name no tenant are those of one tenant, "", where those of their topic may name
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.engine.state.shares import Holdings, room

_NO_OWNER: Final = -1
_FIRST_SLOTS: Final = 64
_NAMES_SLACK: Final = 1024
"""names of former owners that are kept at least"""


class StateOwners:
    """Of one table in one partition. ``total``: the bytes of all states, which have slots by number."""

    def __init__(self, bound: int, *, in_key: bool, named: bool) -> None:
        self.bound = bound
        self.in_key = in_key
        """whether the tenant is a part of the key of states"""
        self.named = named
        """whether events of the topic may name a tenant"""
        self.total = 0
        self.common = 0
        self._code = np.full(_FIRST_SLOTS, _NO_OWNER, np.int64)
        """of the owner of each slot, in ``_names``"""
        self._begun = np.zeros(_FIRST_SLOTS, np.int64)
        """bytes of an empty state; 0: there is none"""
        self._grown = np.zeros(_FIRST_SLOTS, np.int64)
        self._names: list[str] = []
        self._codes: dict[str, int] = {}
        self._held = Holdings()

    def held(self, tenant: str) -> int:
        return self._held[tenant]

    def suffice(self, count: int) -> bool:
        """Whether so many bytes more are within the share of every tenant."""
        if room(self.bound, 0, self.total, self.total) >= count:
            return True
        held = max(self.common, max(self._held.values(), default=0))
        return room(self.bound, 0, self.total, held) >= count

    def owner(self, slot: int) -> str | None:
        """None: none, or unknown after a restart."""
        code = self._code[slot]
        return None if code == _NO_OWNER else self._names[code]

    def begin(
        self, slots: Sequence[int], tenants: Iterable[str | None], counts: Sequence[int]
    ) -> None:
        """Records of these tenants began states of so many bytes. None: the tenant is unknown."""
        if not slots:
            return
        self._reach(max(slots) + 1)
        codes = [*map(self._code_of, tenants)]
        if len(slots) == 1:
            self._code[slots[0]], self._begun[slots[0]] = codes[0], counts[0]
            self._hold(codes[0], counts[0])
            return
        places, sizes = np.array(slots, np.int64), np.array(counts, np.int64)
        self._code[places], self._begun[places] = codes, sizes
        self._take(self._code[places], sizes)

    def _code_of(self, tenant: str | None) -> int:
        if tenant is None or not (tenant or self.named):
            return _NO_OWNER
        code = self._codes.get(tenant)
        if code is None:
            code = self._codes[tenant] = len(self._names)
            self._names.append(tenant)
        return code

    def _reach(self, slots: int) -> None:
        if slots > len(self._code):
            more = max(slots, 2 * len(self._code)) - len(self._code)
            none = np.zeros(more, np.int64)
            self._code = np.concatenate([self._code, none + _NO_OWNER])
            self._begun = np.concatenate([self._begun, none])
            self._grown = np.concatenate([self._grown, none])

    def _take(self, codes: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Bytes for each owner; less of them where they are below 0."""
        sums = np.bincount(codes - _NO_OWNER, counts)  # exact: below 2^53
        for place in np.flatnonzero(sums).tolist():
            self._hold(place + _NO_OWNER, int(sums[place]))

    def _hold(self, code: int, count: int) -> None:
        self.total += count
        if code != _NO_OWNER:
            self._held.give_back(self._names[code], -count)

    def resize(self, slots: NDArray[np.int64], sizes: Sequence[int]) -> None:
        """What these states grew by since they began. Slots without a state are left out."""
        more = np.array(sizes, np.int64) - self._grown[slots]
        more[self._begun[slots] == 0] = 0
        self._grown[slots] += more
        self._grew(self._code[slots], more)

    def _grew(self, codes: NDArray[np.int64], more: NDArray[np.int64]) -> None:
        if self.in_key:
            self._take(codes, more)
        else:
            count = int(more.sum())
            self.common += count
            self.total += count

    def end(self, slots: Sequence[int]) -> None:
        """These states were deleted."""
        if not slots:
            return
        places = np.array(slots, np.int64)
        codes = self._code[places]
        self._grew(codes, -self._grown[places])
        self._take(codes, -self._begun[places])
        self._code[places], self._begun[places], self._grown[places] = _NO_OWNER, 0, 0
        if len(self._names) > 2 * len(self._held) + _NAMES_SLACK:
            self._forget_names()

    def _forget_names(self) -> None:
        """Of tenants that have no state."""
        kept = np.unique(self._code[self._code != _NO_OWNER])
        placed = np.full(len(self._names) + 1, _NO_OWNER, np.int64)  # the last one has no owner
        placed[kept] = np.arange(len(kept))
        self._code = placed[self._code]
        self._names = [self._names[code] for code in kept.tolist()]
        self._codes = {name: code for code, name in enumerate(self._names)}
