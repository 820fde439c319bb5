"""Which tenant owns the bytes of each live state of `app.windows`: the rule of shares.py in bytes
(docs/protocols/bounds.md, "Bytes of tables").

A state belongs to the tenant of the record that began it, with all bytes if the tenant is a part of its
key. Else records of several tenants make it grow, and what all such states of a table grew by counts as one
further tenant's, `common`. Records that name no tenant are those of one tenant, "", where those of their topic may name
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from streams.engine.state.shares import Holdings, room


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
        self._owner: list[str | None] = []
        """None: none, or unknown after a restart"""
        self._begun: list[int] = []
        """bytes of an empty state; 0: there is none"""
        self._grown: list[int] = []
        self._held = Holdings()

    def held(self, tenant: str) -> int:
        return self._held[tenant]

    def suffice(self, count: int) -> bool:
        """Whether so many bytes more are within the share of every tenant."""
        if room(self.bound, 0, self.total, self.total) >= count:
            return True
        held = max(self.common, max(self._held.values(), default=0))
        return room(self.bound, 0, self.total, held) >= count

    def begin(self, slot: int, tenant: str | None, count: int) -> None:
        """A record of the tenant began a state of so many bytes. None: the tenant is unknown."""
        missing = slot + 1 - len(self._owner)
        self._owner += [None] * missing
        self._begun += [0] * missing
        self._grown += [0] * missing
        known = tenant is not None and (tenant or self.named)
        self._owner[slot] = self._held.name(tenant or "") if known else None
        self._begun[slot] = count
        self._add(slot, count)

    def resize(self, slots: Sequence[int], sizes: Sequence[int]) -> None:
        """What these states grew by since they began. Slots without a state are left out."""
        begun, grown, owner, held, total = self._begun, self._grown, self._owner, self._held, 0
        for slot, size in zip(slots, sizes, strict=True):
            more = size - grown[slot]
            if more and begun[slot]:
                grown[slot] = size
                total += more
                whose = owner[slot]
                if self.in_key and whose is not None:
                    held[whose] += more  # above 0: it includes the empty state
        self.total += total
        if not self.in_key:
            self.common += total

    def _grow(self, slot: int, size: int) -> None:
        count = size - self._grown[slot]
        self._grown[slot] = size
        if self.in_key:
            self._add(slot, count)
        else:
            self.common += count
            self.total += count

    def end(self, slots: Iterable[int]) -> None:
        """These states were deleted."""
        for slot in slots:
            self._grow(slot, 0)
            self._add(slot, -self._begun[slot])
            self._begun[slot], self._owner[slot] = 0, None

    def _add(self, slot: int, count: int) -> None:
        self.total += count
        owner = self._owner[slot]
        if owner is not None:
            self._held.give_back(owner, -count)
