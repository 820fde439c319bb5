"""A key/value table of one partition, written one event at a time.

 kept     the result of complete events; only this is encoded by a commit
 staged   writes of the event in progress, and values it read and may change in place

`join` moves staged entries to the kept ones when the event completes; `drop` forgets them.

    ""       MessagePack of the declaration: kind of table and, for windows, their sizes
    key      the owner of the key (key_owners.py), and MessagePack of the value; the key is MessagePack and
             never empty
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, Final, Literal, Protocol, cast

import msgspec

from streams.core.errors import StateLimit, TableChanged, TableMisused
from streams.core.records.bad_records import ValueRefused
from streams.engine.state.entry_bytes import ABSENT, held_bytes
from streams.engine.state.key_owners import Author, Owner, owned_value, owner_mark
from streams.engine.state.table import Entry
from streams.engine.state.table_values import (
    FIXED,
    KEY_MAX_BYTES,
    SCALARS,
    Key,
    Packed,
    ValueForm,
    check_key,
    key_bytes,
    key_of,
)
from streams.engine.state.weighing import Weighing, covers

_DELETED: Final = object()
_DECLARATION: Final = b""


class _Reserve(Enum):
    UNUSED = "unused"
    """the event in progress has written nothing within reserved bytes"""


Declaration = dict[str, Any]
Default = Callable[[], Any]

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Writer(Protocol):
    """The partition whose events write the table."""

    def stage(self, table: KeyedTable) -> None:
        """The event in progress writes ``table``; may be called repeatedly. Raises `TableMisused`
        outside an event."""
        ...

    def check_owned(self, table: KeyedTable, key: Key) -> None:
        """Raises `KeyRefused` for a key of another partition."""
        ...

    @property
    def in_event(self) -> bool: ...

    @property
    def author(self) -> Author:
        """The tenant of the event in progress, or the owner of the window that closes."""
        ...


class KeyedTable:
    """Reads and writes like a dictionary.

    ``default`` makes the value of an absent key for a read, which does not store it.
    ``declaration`` must be the one under which the state was written.
    """

    def __init__(
        self,
        name: str,
        form: ValueForm,
        *,
        default: Default | None = None,
        any_key: bool = False,
        max_bytes: int = 1 << 62,
        declaration: Declaration | None = None,
    ) -> None:
        self.name = name
        self.any_key = any_key
        """keys need not belong to the partition by their hash"""
        self.writer: Writer | None = None
        self._form = form
        self._default = default
        self._max_bytes = max_bytes
        self._declaration = declaration or {"kind": "keyed"}
        self._declared = False
        self._kept: dict[Key, Any] = {}
        self._weighing = Weighing(name, max_bytes, self._kept)
        self._aside: dict[Key, Any] = {}
        """entries that only the state and its bytes have: no event reads or writes them"""
        self._dirty: dict[Key, object] = {}
        """its keys are those that changed since the last `delta`; its values mean nothing"""
        self._rewritten: dict[Key, None] = {}
        self._declare_again = False
        self._staged: dict[Key, Any] = {}
        self._as_read: dict[Key, Any] = {}
        """held form of staged keys that were only read, as it was read"""
        self._read_deleted: set[Key] = set()
        """keys that were read after the event deleted them: unchanged ones stay deleted"""
        self._sealed: dict[Key, Any] = {}
        self._plain = True
        """all staged values are scalars"""
        self._sized = False
        """a value is or was no number: one that becomes a number is weighed"""
        self._weighs = False
        """the event in progress is weighed: it may change the bytes of the table"""
        self._reserved = self._weighing.reserved
        self._within: Owner | Literal[_Reserve.UNUSED] = _Reserve.UNUSED
        """the owner of what is reserved, where the event stays within that"""

    # --- reading -----------------------------------------------------------------------------

    def __getitem__(self, key: Key) -> Any:
        """Raises KeyError for an absent key without a default."""
        if type(key) is not str:
            check_key(self.name, key)
        value = self._staged.get(key, ABSENT)
        if value is ABSENT:
            value = self._kept.get(key, ABSENT)
            if type(value) in SCALARS:
                return value
            return self._read(key, value)
        if value is _DELETED:
            return self._read(key, ABSENT)
        return value

    def _read(self, key: Key, held: Any) -> Any:
        """Read a value that is absent or can be changed in place."""
        if held is ABSENT:
            if self._default is None:
                raise KeyError(key)
            value = self._default()
            if type(value) in SCALARS:
                return value
            held = None
        else:
            value = self._form.given(held)
        if self.writer is not None and self.writer.in_event:
            if key in self._staged:
                self._read_deleted.add(key)
            self._stage(key, value)
            self._as_read[key] = held if held is not None else self._form.held(value)
        return value

    def get(self, key: Key, default: Any = None) -> Any:
        if key not in self:
            return default
        return self[key]

    def __contains__(self, key: object) -> bool:
        value = self._staged.get(key, ABSENT)
        if value is ABSENT:
            return key in self._kept
        if value is _DELETED:
            return False
        kept = key in self._kept and key not in self._read_deleted
        return kept or self._form.held(value) != self._as_read.get(key, ABSENT)

    def __iter__(self) -> Iterator[Key]:
        return iter(self.keys())

    def keys(self) -> list[Key]:
        if not self._staged:
            return [*self._kept]
        return [key for key in {**self._kept, **self._staged} if key in self]

    def values(self) -> list[Any]:
        return [self[key] for key in self.keys()]

    def items(self) -> list[tuple[Key, Any]]:
        return [(key, self[key]) for key in self.keys()]

    def __len__(self) -> int:
        return len(self.keys()) if self._staged else len(self._kept)

    # --- for readers beside the events -------------------------------------------------------

    def kept(self, key: Key) -> Any:
        """A copy of the kept value, or the default. Raises KeyError for an absent key without a
        default."""
        held = self._kept.get(key, ABSENT)
        if held is not ABSENT:
            return held if type(held) in SCALARS else self._form.given(held)
        if self._default is None:
            raise KeyError(key)
        return self._default()

    def keeps(self, key: object) -> bool:
        return key in self._kept

    def follow(self, entries: Iterable[Entry]) -> None:
        """Apply entries that another process committed; None deletes. Raises `TableChanged`."""
        for raw, data in entries:
            if data is not None:
                self.load([(raw, data)])
            elif raw != _DECLARATION:
                key = key_of(raw)
                self._weighing.read(raw, key, ABSENT, "")
                self._kept.pop(key, None)

    def kept_keys(self) -> list[Key]:
        return [*self._kept]

    def packed(self, key: Key) -> bytes:
        """MessagePack of the kept value of ``key``."""
        return self._form.written(self._kept[key])

    def owner(self, key: Key) -> Owner:
        """Of the kept value of ``key``, also while it is set aside."""
        return self._weighing.owners.owner(key)

    # --- writing -----------------------------------------------------------------------------

    def __setitem__(self, key: Key, value: Any) -> None:
        if type(key) is not str:
            check_key(self.name, key)
        if key not in self._kept:  # staged or not: a read stages the default
            self._check_new(key)
        held = self._form.held(value)
        # Scalars are staged in held form; other objects as they are, since they may be changed in
        # place.
        if type(held) not in FIXED:
            self._stage(key, value if type(held) is Packed else held)
        else:
            if not self._staged:
                self._begin()
            self._staged[key] = held
            if self._sized:
                self._weighs = True
        if self._as_read:
            self._forget_read(key)

    def __delitem__(self, key: Key) -> None:
        if key not in self:
            raise KeyError(key)
        self._stage(key, _DELETED)
        self._forget_read(key)

    def pop(self, key: Key, *default: Any) -> Any:
        """Remove a key; its value, or ``default`` if absent (KeyError without one)."""
        if key not in self:
            if default:
                return default[0]
            raise KeyError(key)
        value = self[key]
        del self[key]
        return value

    def setdefault(self, key: Key, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *others: Any, **named: Any) -> None:
        for key, value in dict(*others, **named).items():
            self[key] = value

    def clear(self) -> None:
        for key in self.keys():
            del self[key]

    def _forget_read(self, key: Key) -> None:
        self._as_read.pop(key, None)
        self._read_deleted.discard(key)

    def _check_new(self, key: Key) -> None:
        if len(key_bytes(key)) > KEY_MAX_BYTES:
            raise ValueRefused(
                f"a key of table {self.name!r} has more than {KEY_MAX_BYTES} bytes: use a digest"
            )
        if not self.any_key and self.writer is not None:
            self.writer.check_owned(self, key)
        self._weighs = True

    def _stage(self, key: Key, value: Any) -> None:
        if not self._staged:
            self._begin()
        self._staged[key] = value
        if type(value) not in SCALARS:
            self._plain = False
            self._sized |= value is not _DELETED
        elif type(value) not in FIXED:
            self._sized = True
            self._size(key, value)

    def _size(self, key: Key, held: Any) -> None:
        """The event gives ``key`` a value that is no number."""
        found = self._reserved.get(key)
        if found is None or held_bytes(held) > found[1]:
            self._weighs = True
        elif self._within is _Reserve.UNUSED:
            self._within = found[0]
        elif self._within != found[0]:
            self._weighs = True

    def _begin(self) -> None:
        """Join or drop what is staged here with the event in progress."""
        if self.writer is None:
            raise TableMisused(f"table {self.name!r} has no partition here")
        self.writer.stage(self)

    # --- the end of an event -----------------------------------------------------------------

    def seal(self) -> None:
        """Encode what may have been changed in place. After `ValueRefused`, or `TenantOverQuota` for
        bytes beyond the share of the event's tenant, nothing is joined."""
        if not self._plain:
            self._encode_changed()
        if self.writer is None or (not self._weighs and self._within is _Reserve.UNUSED):
            return
        author = self.writer.author
        if not self._weighs:
            owner = cast(Owner, self._within)
            self._weighs = author != owner and not covers(owner, author)
        if self._weighs:
            changed = self._staged if self._plain else self._sealed
            self._weighing.weigh(author, changed, self._dirty)

    def _encode_changed(self) -> None:
        self._sealed = {}
        for key, value in self._staged.items():
            if type(value) in SCALARS or value is _DELETED:
                self._sealed[key] = value
                self._weighs |= value is _DELETED
                continue
            held = self._form.held(value)
            self._form.written(held)
            if held != self._as_read.get(key, ABSENT):
                self._sealed[key] = held
                self._size(key, held)
                if key not in self._kept:
                    self._check_new(key)
            elif key in self._read_deleted:
                self._sealed[key] = _DELETED
                self._weighs = True

    def join(self) -> None:
        """Move staged entries to the kept ones. Cannot fail after `seal`."""
        kept, dirty = self._kept, self._dirty
        if self._plain:
            kept.update(self._staged)
            dirty.update(self._staged)
        else:
            for key, value in self._sealed.items():
                if value is not _DELETED:
                    kept[key] = value
                    dirty[key] = None
                elif kept.pop(key, ABSENT) is not ABSENT:
                    dirty[key] = None
        if self._weighs:
            self._weighing.join()
        self.drop()

    def drop(self) -> None:
        self._staged.clear()
        if self._weighs:
            self._weighs = False
            self._weighing.drop()
        self._within = _Reserve.UNUSED
        if not self._plain:
            self._as_read.clear()
            self._read_deleted.clear()
            self._sealed = {}
            self._plain = True

    # --- `Table` -----------------------------------------------------------------------------

    @property
    def bytes_used(self) -> int:
        self._weighing.settle()
        return self._weighing.owners.total

    @property
    def changed(self) -> bool:
        """Whether complete events changed it since the last `delta`."""
        return bool(self._dirty)

    def check_bound(self) -> None:
        """Raises `StateLimit`."""
        if self._weighing.owners.total > self._max_bytes < self.bytes_used:
            raise StateLimit(
                f"table {self.name!r} holds {len(self._kept)} keys of one partition, "
                f"{self.bytes_used} bytes: more than DIA_MAX_TABLE_BYTES={self._max_bytes}. Delete "
                f"keys, let windows expire, spread the keys over more partitions, or raise it."
            )

    def delta(self, seq: int) -> list[Entry]:
        self._weighing.settle()
        entries: list[Entry] = []
        if self._declare_again or (self._dirty and not self._declared):
            entries.append((_DECLARATION, _encode(self._declaration)))
            self._declared, self._declare_again = True, False
        changed = {**self._dirty, **self._rewritten} if self._rewritten else self._dirty
        for key in changed:
            held = self._kept.get(key, ABSENT)
            if held is ABSENT:
                held = self._aside.get(key, ABSENT)
            if held is not ABSENT:
                mark = owner_mark(self._weighing.owners.owner(key))
                entries.append((key_bytes(key), mark + self._form.written(held)))
            elif key in self._dirty:
                entries.append((key_bytes(key), None))
        self._dirty, self._rewritten = {}, {}
        return entries

    def rewrite(self, key: bytes, value: bytes) -> None:
        if key == _DECLARATION:
            self._declare_again = True
        else:
            self._rewritten[key_of(key)] = None

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        kept, read = self._kept, self._form.read
        for raw, entry in items:
            if raw == _DECLARATION:
                self._check_declaration(_decode(entry))
                continue
            owner, data = owned_value(entry)
            key, held = key_of(raw), read(data)
            self._weighing.read(raw, key, held, owner)
            self._sized |= type(held) not in FIXED
            kept[key] = held

    def _check_declaration(self, found: Declaration) -> None:
        self._declared = True
        if found != self._declaration:
            raise TableChanged(
                f"table {self.name!r} was written as {_said(found)} but is declared as "
                f"{_said(self._declaration)}. Declare it as before, give the new one another name, "
                "or discard the state: `dia tables reset`."
            )


def _said(declaration: Declaration) -> str:
    rest = ", ".join(f"{name}={value}" for name, value in declaration.items() if name != "kind")
    return f"{declaration['kind']}({rest})" if rest else str(declaration["kind"])
