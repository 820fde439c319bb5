"""The committed state of one partition: store, tables, the chain's last link, the live keys.

The store holds, in format 6:

    00          `StoreMeta`
    01 key      offset:u64 before_bytes:u64 size:u64, where the key's newest entry lies in the
                changelog
    key         the table's value

All of a commit is written in one batch, so a store is always the state after exactly one link.
Places stand apart from values because a start reads all of the ones and, of a table that has
files of its own, few of the others. A store of an older format is left for a fresh one.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from streams.core.errors import StoreUnusable
from streams.core.types import Store, TopicPartition
from streams.engine.state.changelog import Link, unknown_format
from streams.engine.state.live_keys import EntryPlace, LiveKeys
from streams.engine.state.table import Entry, FiledTable, Table, TableContext, TableSpec

STORE_FORMAT = 6
STORE_READABLE = frozenset({6})
STORE_DISCARDED = frozenset({1, 2, 3, 4, 5})
"""Formats of older versions that are not read: the changelog has it all."""
META_KEY = b"\0"
PLACE_PREFIX = b"\1"
_PLACE = struct.Struct(">QQQ")
_LOAD_ENTRIES = 4
"""A table with files is loaded so many entries at a time, 3.5 MB at most: other tasks run in between."""


class StoreMeta(msgspec.Struct, array_like=True, frozen=True):
    """Up to where the store follows the changelog: the offset to read next, and its last link."""

    format: int
    changelog_offset: int
    link: Link


_encode_meta = msgspec.msgpack.Encoder().encode
_decode_meta = msgspec.msgpack.Decoder(StoreMeta).decode
_decode_format = msgspec.msgpack.Decoder(list[Any]).decode


def read_meta(store: Store) -> StoreMeta | None:
    """What a store says of itself; None when it is empty. Raises `UnknownFormat`, and
    `StoreUnusable` for a format that is left behind."""
    data = store.get(META_KEY)
    if data is None:
        return None
    version = _decode_format(data)[0]
    if version in STORE_DISCARDED:
        raise StoreUnusable(f"the local state is in format {version}, of an older version of dia")
    if version not in STORE_READABLE:
        raise unknown_format("the local state", version, STORE_READABLE)
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
    _carried: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.live = LiveKeys(self.context.settings.changelog_slack_bytes)
        self.tables = {spec.name: spec.build(self.context) for spec in self.specs}

    async def load(self) -> None:
        """Fill live keys and tables from the store (end of A3), a bounded step at a time."""
        places = [
            (key[len(PLACE_PREFIX) :], EntryPlace(*_PLACE.unpack(place)))
            for key, place in self.store.items(PLACE_PREFIX)
        ]
        self.live.load(places, self.link.written_bytes)
        for spec in self.specs:
            table, skip = self.tables[spec.name], len(spec.prefix)
            keys = [key[skip:] for key, _ in places if key.startswith(spec.prefix)]
            if isinstance(table, FiledTable):
                wanted = table.adopt(keys)
                steps = [
                    wanted[at : at + _LOAD_ENTRIES] for at in range(0, len(wanted), _LOAD_ENTRIES)
                ]
            else:
                steps = [keys]
            for step in steps:
                table.load((key, self._value(spec.prefix + key)) for key in step)
                await asyncio.sleep(0)

    def _value(self, key: bytes) -> bytes:
        value = self.store.get(key)
        assert value is not None, "a live key is in the store"
        return value

    def entries_of(self, spec: TableSpec[Any], seq: int) -> list[Entry]:
        """The table's delta for commit ``seq``, its keys under the table's prefix."""
        delta = self.tables[spec.name].delta(seq)
        return [(spec.prefix + key, value) for key, value in delta]

    def rewrite(self, key: bytes) -> None:
        """Ask the key's table to write anew what still lives of it. An entry of a table that is not
        declared is carried along as it is: the table may be declared again."""
        spec = next((spec for spec in self.specs if key.startswith(spec.prefix)), None)
        if spec is None:
            self._carried.append((key, self._value(key)))
        else:
            self.tables[spec.name].rewrite(key[len(spec.prefix) :], self._value(key))

    def take_carried(self) -> list[Entry]:
        """Entries of undeclared tables that the next commit writes anew."""
        carried, self._carried = self._carried, []
        return carried

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
            batch += [(key, value), (PLACE_PREFIX + key, _PLACE.pack(*place) if place else None)]
        link = msgspec.structs.replace(link, written_bytes=self.live.written_bytes)
        batch.append((META_KEY, _encode_meta(StoreMeta(STORE_FORMAT, next_offset, link))))
        self.store.write(batch)
        self.link = link
        self.changelog_offset = next_offset
