"""Weighs what events do to the bytes of one table in one partition, once for a key and commit
(docs/protocols/bounds.md, "Reserved bytes").

 R1  the second event since the commit that makes a value longer reserves room for more     `join`
 R2  an event within what is reserved is weighed no further                                 `covers`
 R3  what is reserved and not used is given back: at a commit, before a refusal, and when
     the room of an owner runs out                                                          `settle`
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, Final, TypeAlias

from streams.core.records.bad_records import TenantOverQuota
from streams.engine.state.entry_bytes import ABSENT, entry_bytes, held_bytes
from streams.engine.state.key_owners import (
    SHARED,
    Author,
    KeyChange,
    KeyOwners,
    Owner,
    Several,
    Weighed,
)
from streams.engine.state.table_values import Key, key_bytes

_LEAST_BYTES: Final = 256
"""of a reservation where there is room: at least twice what short values are"""
_SHARE: Final = 8
"""a reservation takes at most this part of the room of its owner"""


Resized: TypeAlias = tuple[Key, Owner, int, int]
"""An event that changes the length of one value, and no owner: key, owner, the bytes by which its count grows,
and the bytes of the value that it counts from then on; 0: what it has."""


def covers(owner: Owner, author: Author) -> bool:
    """Whether what ``author`` adds to a key of ``owner`` counts for ``owner``, by the room of an owner."""
    return author in (owner, "") or (owner is SHARED and author is not Several.LIST)


class Weighing:
    """``kept``: the complete values of the table in held form, which its owner changes."""

    def __init__(self, table: str, bound: int, kept: Mapping[Key, Any]) -> None:
        self.owners = KeyOwners(table, bound)
        self._bound = bound
        self._kept = kept
        self.reserved: dict[Key, tuple[Owner, int]] = {}
        """owner of the key, and the bytes of its value that count for the owner. An event whose values are
        within them, and whose author `covers`, changes no count"""
        self._most_held = 0
        """no owner with reserved bytes holds more"""
        self.resized: Resized | None = None
        self.effect: Weighed | None = None
        """of the event that was weighed last, for `join` to enter: `resized`, or this, or neither"""

    def weigh(self, author: Author, changed: Mapping[Key, Any], again: Container[Key]) -> None:
        """The effect of an event that leaves ``changed`` in held form. ``again``: keys that an event
        changed since the commit. Raises `TenantOverQuota`."""
        if self.reserved:
            self._give_back(changed)
        if len(changed) == 1:
            for key, value in changed.items():
                if self._weigh_value(author, key, value, again):
                    return
        changes = self._changes(changed)
        if not changes:
            return
        try:
            self.effect = self.owners.weigh(author, changes)
        except TenantOverQuota:
            if not self.reserved:
                raise
            self.settle()
            self.effect = self.owners.weigh(author, changes)

    def _weigh_value(self, author: Author, key: Key, value: Any, again: Container[Key]) -> bool:
        """Whether this is the usual event: it changes the length of one value, and no owner."""
        size, before = held_bytes(value), held_bytes(self._kept.get(key, ABSENT))
        if size < 0 or before < 0:
            return False
        more = size - before
        if not more:
            return True
        owners, extra = self.owners, 0
        owner = owners.owner(key)
        if author == owner or covers(owner, author):
            room_bytes = self._bound if author == "" else owners.room(owner)
            if more > room_bytes:
                return False
            if key in again:
                extra = min(max(size, _LEAST_BYTES), (room_bytes - more) // _SHARE)
                if extra < _LEAST_BYTES // 2:
                    extra = 0
        elif more > 0:
            return False
        self.resized = key, owner, more + extra, size + extra if extra else 0
        return True

    def _changes(self, changed: Mapping[Key, Any]) -> list[KeyChange]:
        changes: list[KeyChange] = []
        for key, value in changed.items():
            before, after = held_bytes(self._kept.get(key, ABSENT)), held_bytes(value)
            if before != after:
                empty = entry_bytes(key_bytes(key), 0)
                changes.append(
                    (key, empty + before if before >= 0 else 0, empty + after if after >= 0 else 0)
                )
        return changes

    def join(self) -> None:
        """The event joined."""
        if self.resized is not None:
            key, owner, more, limit = self.resized
            self.owners.resize(owner, more)
            if limit:
                self.reserved[key] = owner, limit
            if self.reserved:
                self._grew(owner)
        elif self.effect is not None:
            self.owners.take(self.effect)
            if self.reserved:
                for owner in {*self.effect[1]}:
                    self._grew(owner)
        self.drop()

    def drop(self) -> None:
        self.resized = self.effect = None

    def _grew(self, owner: Owner) -> None:
        """Give back what is reserved before an owner of it has less room than that."""
        if owner != "":
            self._most_held = max(self._most_held, self.owners.held(owner))
        if self.owners.total > self._bound + 1 - self._most_held:
            self.settle()

    def settle(self) -> None:
        """Nothing is reserved: the bytes of all owners are those of the kept values."""
        self._give_back([*self.reserved])
        self._most_held = 0

    def _give_back(self, keys: Iterable[Key]) -> None:
        for key in keys:
            found = self.reserved.pop(key, None)
            if found is not None:
                self.owners.resize(found[0], held_bytes(self._kept[key]) - found[1])

    def set_aside(self, key: Key) -> None:
        """The key leaves the kept values; its bytes stay."""
        self._give_back([key])

    def read(self, raw: bytes, key: Key, held: Any, owner: Owner) -> None:
        """The key gets this value and owner, whatever they were."""
        before = entry_bytes(raw, self._kept.get(key, ABSENT))
        self.owners.take(([(key, before, entry_bytes(raw, held))], [owner]))
