"""Which tenant owns the bytes of each key of an agent's table: the rule of shares.py in bytes
(docs/protocols/bounds.md, "Bytes of tables").

What an event or a closing window writes is weighed before it joins the table. `weigh` refuses it, or returns
what `take` enters. The owner of a key stands before its value in store and changelog:

    owner    C1, bytes of the tenant's name (u16; FFFF: several tenants), the name as UTF-8
    value    MessagePack, in which C1 begins nothing
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from streams.core.records.bad_records import TenantOverQuota
from streams.engine.state.shares import Holdings, room
from streams.engine.state.table_values import Key

Owner: TypeAlias = str | None
"""A tenant; "" no tenant; None several tenants, whose keys count as those of one further tenant."""
SHARED: Final = None


class Several(Enum):
    LIST = "list"
    """events of several tenants that one `take` list holds"""


Author: TypeAlias = Owner | Literal[Several.LIST]
"""Whose event or closing window writes."""

_MARK: Final = 0xC1
_HEADER: Final = struct.Struct(">BH")
_OF_SEVERAL: Final = 0xFFFF


@lru_cache(1024)
def owner_mark(owner: Owner) -> bytes:
    """What stands before the value of an owned key; empty without an owner."""
    if owner is None:
        return _HEADER.pack(_MARK, _OF_SEVERAL)
    name = owner.encode(errors="replace")
    return _HEADER.pack(_MARK, len(name)) + name if name else b""


def owned_value(data: bytes) -> tuple[Owner, bytes]:
    """The inverse: owner and value of an entry."""
    if data[0] != _MARK:
        return "", data
    _, size = _HEADER.unpack_from(data)
    if size == _OF_SEVERAL:
        return SHARED, data[_HEADER.size :]
    end = _HEADER.size + size
    return data[_HEADER.size : end].decode(), data[end:]


KeyChange: TypeAlias = tuple[Key, int, int]
"""What an event does to a key: its bytes before and after; 0: it is absent."""
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

    def weigh(self, author: Author, changes: Sequence[KeyChange]) -> Weighed:
        """What ``author`` writes; "" is refused nothing, and a list of several tenants may add while half of
        the table is free. Raises `TenantOverQuota`."""
        owners = [self._owner_after(change, author) for change in changes]
        if author is Several.LIST:
            self._check_list(changes)
        elif author != "":
            self._check(author, changes, owners)
        return changes, owners

    def _check_list(self, changes: Sequence[KeyChange]) -> None:
        added = sum(after - before for _, before, after in changes)
        if added > max(0, self._bound // 2 - self.total):
            raise TenantOverQuota(
                f"table {self._table!r} has no room for the keys of events of several tenants. "
                "They are handled one by one"
            )

    def room(self, owner: Owner) -> int:
        """How many bytes more the owner may add to its keys."""
        return room(self._bound, 0, self.total, self.held(owner))

    def resize(self, owner: Owner, more: int) -> None:
        """A key of this owner, which it keeps, counts so many bytes more."""
        self.total += more
        if owner:
            self._held[owner] += more
        elif owner is SHARED:
            self._shared += more

    def _owner_after(self, change: KeyChange, author: Author) -> Owner:
        key, before, after = change
        if not after:
            return ""
        owner = self._owner.get(key, "")
        if author == "" or author is Several.LIST or owner == author or after <= before:
            return owner
        return author if owner == "" else SHARED

    def _check(self, author: Owner, changes: Sequence[KeyChange], owners: Sequence[Owner]) -> None:
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
                raise TenantOverQuota(self._refusal(owner, author, held, count))
            total += count

    def _refusal(self, owner: Owner, author: Owner, held: int, count: int) -> str:
        several = (
            f"{author!r} and other tenants"
            if author
            else "several tenants, or events that name none,"
        )
        whose = (
            f"tenant {owner!r} has its share"
            if owner is not SHARED
            else f"the keys that {several} write have their share"
        )
        return (
            f"{whose} of table {self._table!r} in one partition: {held} of {self._bound} bytes "
            f"(DIA_MAX_TABLE_BYTES) are held, and {count} more are written. Delete keys, write "
            "shorter values, let windows expire, or raise the bound"
        )

    def take(self, weighed: Weighed) -> None:
        """What was weighed joined."""
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
