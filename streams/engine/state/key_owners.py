"""Which tenant owns the bytes of each key of an agent's table: the rule of shares.py in bytes
(docs/protocols/bounds.md, "Bytes of tables").

An event is weighed before it joins the table. `weigh` refuses it, or returns what `take` enters. Owners are
kept in memory only: a key that a restart found has none until an event makes it longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from streams.core.records.bad_records import TenantOverQuota
from streams.engine.state.shares import Holdings, room
from streams.engine.state.table_values import Key

Owner: TypeAlias = str | None
"""A tenant; "" no tenant; None several tenants, whose keys count as those of one further tenant."""
SHARED: Final = None


KeyChange: TypeAlias = tuple[Key, int, int]
"""What an event does to a key: its bytes before and after; 0: it is absent."""
Resized: TypeAlias = tuple[Key, int]
"""A key whose value the event makes this many bytes longer."""
Weighed: TypeAlias = tuple[Sequence[KeyChange], Sequence[Owner]]
"""The effect of an event that may join: its changes, and the owner of each key after it."""


class KeyOwners:
    """Of one table in one partition. ``total``: the bytes of all its keys."""

    def __init__(self, table: str, bound: int) -> None:
        self._table = table
        self._bound = bound
        self.total = 0
        self._owner: dict[Key, Owner] = {}
        self._held = Holdings()
        self._shared = 0

    def held(self, owner: Owner) -> int:
        return self._shared if owner is None else self._held[owner]

    def owner(self, key: Key) -> Owner:
        return self._owner.get(key, "")

    def weigh(self, tenant: str | None, changes: Sequence[KeyChange]) -> Weighed:
        """Of an event of ``tenant``; "" for none, None for a list of events of several tenants, which may
        add while half of the table is free. Raises `TenantOverQuota`."""
        owners = [self._owner_after(change, tenant) for change in changes]
        if tenant:
            self._check(tenant, changes, owners)
        elif tenant is None:
            added = sum(after - before for _, before, after in changes)
            if added > max(0, self._bound // 2 - self.total):
                raise TenantOverQuota(
                    f"table {self._table!r} has no room for the keys of events of several tenants. "
                    "They are handled one by one"
                )
        return changes, owners

    def may_resize(self, tenant: Owner, key: Key, more: int) -> bool:
        """Whether this is the usual event: its tenant owns the key, and has room for ``more`` bytes of its
        value. Then `resize` may enter it; another event is weighed."""
        if not tenant or self._owner.get(key) != tenant:
            return False
        return more <= room(self._bound, 0, self.total, self._held[tenant])

    def resize(self, key: Key, more: int) -> None:
        """The event joined."""
        self.total += more
        self._held[self._owner[key] or ""] += more

    def _owner_after(self, change: KeyChange, tenant: str | None) -> Owner:
        key, before, after = change
        if not after:
            return ""
        owner = self._owner.get(key, "")
        if not tenant or owner == tenant or after <= before:
            return owner
        return tenant if owner == "" else SHARED

    def _check(self, tenant: str, changes: Sequence[KeyChange], owners: Sequence[Owner]) -> None:
        added: dict[Owner, int] = {}
        for (key, before, after), owner in zip(changes, owners, strict=True):
            added[owner] = added.get(owner, 0) + after
            if before:
                former = self._owner.get(key, "")
                added[former] = added.get(former, 0) - before
        # What a key leaves with its former owner takes no room from the next one.
        total = self.total + sum(count for count in added.values() if count < 0)
        for owner, count in added.items():
            if owner == "" or count <= 0:
                continue
            held = self.held(owner)
            if count > room(self._bound, 0, total, held):
                raise TenantOverQuota(self._refusal(owner, tenant, held, count))
            total += count

    def _refusal(self, owner: Owner, tenant: str, held: int, count: int) -> str:
        whose = (
            f"tenant {tenant!r} has its share"
            if owner is not SHARED
            else f"the keys that {tenant!r} and other tenants write have their share"
        )
        return (
            f"{whose} of table {self._table!r} in one partition: {held} of {self._bound} bytes "
            f"(DIA_MAX_TABLE_BYTES) are held, and this event adds {count}. Delete keys, write shorter "
            "values, let windows expire, or raise the bound; then replay it"
        )

    def take(self, weighed: Weighed) -> None:
        """The event joined."""
        for (key, before, after), owner in zip(*weighed, strict=True):
            self.total += after - before
            former = self._owner.get(key, "")
            if owner and owner == former:
                self._held[owner] += after - before
                continue
            if before:
                self._add(former, -before)
            if after:
                self._add(owner, after)
            if owner == former:
                continue
            if owner == "":
                del self._owner[key]
            else:
                self._owner[key] = self._held.name(owner) if owner else SHARED

    def _add(self, owner: Owner, count: int) -> None:
        if owner is SHARED:
            self._shared += count
        elif owner:
            self._held.give_back(owner, -count)
