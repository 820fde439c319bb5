"""The committed state of one partition: store, tables, the chain's last link, the live keys.

What the store holds for a key is ``offset:u64 before_bytes:u64`` (where its newest entry lies in
the changelog) and then the table's value. The key ``00`` holds `StoreMeta`; it is written in the
same batch as the entries it speaks of, so a store is always the state after exactly one link.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from streams.types import Store, TopicPartition
from tables.changelog import FORMAT, READABLE, Link, entry_bytes, unknown_format
from tables.live_keys import LiveKeys, Place
from tables.table import Entry, Table, TableContext, TableSpec

META_KEY = b"\0"
_PLACE = struct.Struct(">QQ")


class StoreMeta(msgspec.Struct, array_like=True, frozen=True):
    """Up to where the store follows the changelog: the offset to read next, and its last link."""

    format: int
    changelog_offset: int
    link: Link


_encode_meta = msgspec.msgpack.Encoder().encode
_decode_meta = msgspec.msgpack.Decoder(StoreMeta).decode
_decode_format = msgspec.msgpack.Decoder(list[Any]).decode


def read_meta(store: Store) -> StoreMeta | None:
    """What a store says of itself; None when it is empty. Raises `UnknownFormat`."""
    data = store.get(META_KEY)
    if data is None:
        return None
    version = _decode_format(data)[0]
    if version not in READABLE:
        raise unknown_format("the local state", version)
    return _decode_meta(data)


@dataclass(slots=True)
class PartitionState:
    """``link`` is the last committed one; ``changelog_offset`` the first not yet applied."""

    tp: TopicPartition
    changelog: TopicPartition
    store: Store
    context: TableContext
    specs: Sequence[TableSpec[Any]]
    link: Link
    changelog_offset: int
    live: LiveKeys = field(init=False)
    tables: Mapping[str, Table] = field(init=False)

    def __post_init__(self) -> None:
        self.live = LiveKeys(self.context.settings.changelog_slack_bytes)
        self.tables = {spec.name: spec.build(self.context) for spec in self.specs}

    def load(self) -> None:
        """Fill live keys and tables from the store (end of A3)."""
        places: list[tuple[bytes, Place]] = []
        for spec in self.specs:
            values: list[tuple[bytes, bytes]] = []
            for key, stored in self.store.items(spec.prefix):
                offset, before_bytes = _PLACE.unpack_from(stored)
                value = stored[_PLACE.size :]
                places.append((key, Place(offset, before_bytes, entry_bytes(key, value))))
                values.append((key[len(spec.prefix) :], value))
            self.tables[spec.name].load(values)
        self.live.load(places, self.link.written_bytes)

    def entries_of(self, spec: TableSpec[Any], seq: int) -> list[Entry]:
        """The table's delta for commit ``seq``, its keys under the table's prefix."""
        delta = self.tables[spec.name].delta(seq)
        return [(spec.prefix + key, value) for key, value in delta]

    def rewrite(self, key: bytes) -> None:
        """Ask the key's table to write anew what still lives of it."""
        stored = self.store.get(key)
        assert stored is not None, "a live key is in the store"
        spec = next(spec for spec in self.specs if key.startswith(spec.prefix))
        self.tables[spec.name].rewrite(key[len(spec.prefix) :], stored[_PLACE.size :])

    def base_offset(self, entries: Iterable[Entry]) -> int:
        """The changelog offset below which nothing will be live once ``entries`` are written."""
        return self.live.base_offset({key for key, _ in entries}, self.changelog_offset)

    def applied(
        self, link: Link, first_offset: int, next_offset: int, entries: Sequence[Entry]
    ) -> None:
        """C4, and each step of A3: ``entries`` are the whole commit ``link``, whose parts lie
        from ``first_offset`` on; the next one begins at or after ``next_offset``.

        The first part's offset stands for all parts, so that a log trimmed to any live entry
        begins with a whole commit. A link that opens an epoch empties the store first.
        """
        batch: list[tuple[bytes, bytes | None]] = []
        if link.reset:
            batch += [(key, None) for key, _ in self.store.items()]
        places = self.live.applied(first_offset, entries)
        for (key, place), (_, value) in zip(places, entries, strict=True):
            if place is None or value is None:
                batch.append((key, None))
            else:
                batch.append((key, _PLACE.pack(place.offset, place.before_bytes) + value))
        link = msgspec.structs.replace(link, written_bytes=self.live.written_bytes)
        batch.append((META_KEY, _encode_meta(StoreMeta(FORMAT, next_offset, link))))
        self.store.write(batch)
        self.link = link
        self.changelog_offset = next_offset
