"""Which tenant owns the bytes of each live state of `app.windows`: the rule of shares.py in bytes
(docs/protocols/bounds.md, "Bytes of tables").

A state belongs to the tenant of the record that began it, with all bytes if the tenant is a part of its
key. Else records of several tenants make it grow, and what all such states of a table grew by counts as one
further tenant's, `common`. Records that name no tenant are those of one tenant, "", where those of their topic may name
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

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

    def begin(
        self, slots: Sequence[int], tenants: Iterable[str | None], counts: Sequence[int]
    ) -> None:
        """Records of these tenants began states of so many bytes. None: the tenant is unknown."""
        self._reach(max(slots, default=-1) + 1)
        owner, begun, named, names = self._owner, self._begun, self.named, self._held.name
        more: dict[str | None, int] = {}
        for slot, tenant, count in zip(slots, tenants, counts, strict=True):
            whose = names(tenant or "") if tenant or (named and tenant is not None) else None
            owner[slot], begun[slot] = whose, count
            more[whose] = more.get(whose, 0) + count
        self._take(more)

    def _reach(self, slots: int) -> None:
        missing = slots - len(self._owner)
        self._owner += [None] * missing
        self._begun += [0] * missing
        self._grown += [0] * missing

    def _take(self, more: Mapping[str | None, int]) -> None:
        """Bytes of each owner; less of them where they are below 0."""
        for whose, count in more.items():
            self.total += count
            if whose is not None:
                self._held.give_back(whose, -count)

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

    def end(self, slots: Iterable[int]) -> None:
        """These states were deleted."""
        owner, begun, grown, grew = self._owner, self._begun, self._grown, 0
        less: dict[str | None, int] = {}
        for slot in slots:
            whose, count = owner[slot], begun[slot]
            if self.in_key:
                count += grown[slot]
            else:
                grew += grown[slot]
            less[whose] = less.get(whose, 0) - count
            owner[slot], begun[slot], grown[slot] = None, 0, 0
        self.common -= grew
        self.total -= grew
        self._take(less)
