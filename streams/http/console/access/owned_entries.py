"""Entries of many owners in bounded memory: an owner beyond its bound loses its own entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class OwnedEntries(Generic[T]):
    """Beyond ``owner_max`` the owner's least recently used entry is evicted; beyond ``total_max``
    that of the owner with the most, the new entry included."""

    def __init__(self, *, total_max: int, owner_max: int) -> None:
        self._total_max = total_max
        self._owner_max = owner_max
        self._owners: dict[str, dict[str, T]] = {}
        self._owner_of: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._owner_of)

    def __iter__(self) -> Iterator[T]:
        for entries in self._owners.values():
            yield from entries.values()

    def put(self, owner: str, name: str, entry: T) -> None:
        """``name`` is unique over all owners."""
        if len(self._owners.get(owner, ())) >= self._owner_max:
            self._drop_oldest(owner)
        elif len(self._owner_of) >= self._total_max:
            self._drop_oldest(
                max(self._owners, key=lambda one: len(self._owners[one]) + (one == owner))
            )
        self._owners.setdefault(owner, {})[name] = entry
        self._owner_of[name] = owner

    def get(self, name: str) -> T | None:
        """Counts as a use."""
        owner = self._owner_of.get(name)
        if owner is None:
            return None
        entries = self._owners[owner]
        entries[name] = entries.pop(name)
        return entries[name]

    def pop(self, name: str) -> None:
        owner = self._owner_of.pop(name, None)
        if owner is not None:
            del self._owners[owner][name]
            if not self._owners[owner]:
                del self._owners[owner]

    def keep(self, wanted: Callable[[T], bool], owner: str | None = None) -> None:
        """Remove all entries that are not wanted, of one owner if given."""
        owners = [*self._owners] if owner is None else [owner]
        for entries in [self._owners.get(one, {}) for one in owners]:
            for name, entry in [*entries.items()]:
                if not wanted(entry):
                    self.pop(name)

    def _drop_oldest(self, owner: str) -> None:
        self.pop(next(iter(self._owners[owner])))
