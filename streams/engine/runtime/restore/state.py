"""The committed state of one partition: store, tables, last link and live keys.

The store holds, in format 9:

    00          `StoreMeta`
    01 key      offset:u64 before_bytes:u64 size:u64, the place of the key's newest entry in the
                changelog
    key         the table's value

A commit is one batch, so a store is always the state after one link. Places are separate from
values: a start reads all places, but of a table with own files only a few values. A store of an
older format is replaced by an empty one.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import msgspec

from streams.core.errors import StoreUnusable
from streams.core.rows.built_in_tables import version_of
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.rows.dated_map import DatedMap
from streams.core.types import Store, TopicPartition
from streams.engine.engine_tables import OUTBOX
from streams.engine.state.changelog import Link, unknown_format
from streams.engine.state.live_keys import EntryPlace, LiveKeys
from streams.engine.state.outbox import Outbox
from streams.engine.state.placements import KeyMap, TakenMap, key_maps, take
from streams.engine.state.table import DatedTable, Entry, FiledTable, Table, TableContext, TableSpec
from streams.engine.windows.minutes.emission import EmittingTable

OwesDays: TypeAlias = Callable[[Mapping[str, ClickHouseTable], Outbox, int, int], bool]

STORE_FORMAT = 9
STORE_READABLE = frozenset({8, 9})
"""8 has a `Link` of format 7"""
STORE_DISCARDED = frozenset({1, 2, 3, 4, 5, 6, 7})
"""older formats that are not read: the changelog has all"""
META_KEY = b"\0"
PLACE_PREFIX = b"\1"
_PLACE = struct.Struct(">QQQ")
_LOAD_ENTRIES = 4
"""entries of a table with files loaded in one step, 3.5 MB at most, so that other tasks run"""


class StoreMeta(msgspec.Struct, array_like=True, frozen=True):
    """The changelog offset to read next, and the last link."""

    format: int
    changelog_offset: int
    link: Link


_encode_meta = msgspec.msgpack.Encoder().encode
_decode_meta = msgspec.msgpack.Decoder(StoreMeta).decode
_decode_format = msgspec.msgpack.Decoder(list[Any]).decode


def read_meta(store: Store) -> StoreMeta | None:
    """None for an empty store. Raises `UnknownFormat`, and `StoreUnusable` for a discarded
    format."""
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
    """``link`` is the last committed link; ``changelog_offset`` the next to apply."""

    tp: TopicPartition
    changelog: TopicPartition
    store: Store
    context: TableContext
    specs: Sequence[TableSpec[Any]]
    link: Link
    changelog_offset: int
    live: LiveKeys = field(init=False)
    tables: Mapping[str, Table] = field(init=False)
    later_maps: tuple[TakenMap, ...] = ()
    """the shard maps after the first that the tables have; the next link names them"""
    key_maps: tuple[KeyMap, ...] = ()
    """the same as they place rows of `app.windows`"""
    _carried: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.live = LiveKeys(self.context.settings.changelog_slack_bytes)
        self.tables = {spec.name: spec.build(self.context) for spec in self.specs}

    def take_maps(
        self,
        maps: Sequence[DatedMap],
        folded: tuple[int, int],
        *,
        loaded: bool = True,
        owes: OwesDays | None = None,
    ) -> None:
        """D6: have the tables place windows by ``maps``, which begin with those of the last link,
        up to a move that has to wait. ``folded``: the last day of events, and the offset behind the records,
        that are. Before the tables are ``loaded``, each further move waits. ``owes``: as `Owed.owes`."""
        emitting = [one for one in self.tables.values() if isinstance(one, EmittingTable)]
        tables, outbox = self.context.targets.tables, cast(Outbox, self.tables[OUTBOX.name])
        placing = [one for one in self.tables.values() if isinstance(one, DatedTable)]

        def has_windows(first: int, last: int) -> bool:
            if not loaded or any(one.has_windows(first, last) for one in placing):
                return True
            return owes is not None and owes(tables, outbox, first, last)

        last_day, next_offset = folded
        had = len(self.later_maps)
        known = self.later_maps or self.link.later_maps
        since = version_of(self.context.epoch, next_offset)
        self.later_maps = take(known, maps, last_day, has_windows, since)
        self.key_maps = key_maps(self.later_maps, maps)
        for taken, dated in list(zip(self.later_maps, maps[1:], strict=False))[had:]:
            for table in emitting:
                days = taken.first_day, taken.last_day
                table.add_map(*days, dated.shards, dated.shard_of, taken.since)

    async def load(self) -> None:
        """Load live keys and tables from the store (end of A3), in bounded steps."""
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
        """The table's delta for commit ``seq``, with prefixed keys."""
        delta = self.tables[spec.name].delta(seq)
        return [(spec.prefix + key, value) for key, value in delta]

    def rewrite(self, key: bytes) -> None:
        """Have the key's table write its live part again. An entry of an undeclared table is
        carried along: it may be declared again."""
        spec = next((spec for spec in self.specs if key.startswith(spec.prefix)), None)
        if spec is None:
            self._carried.append((key, self._value(key)))
        else:
            self.tables[spec.name].rewrite(key[len(spec.prefix) :], self._value(key))

    def take_carried(self) -> list[Entry]:
        """Entries of undeclared tables to write again in the next commit."""
        carried, self._carried = self._carried, []
        return carried

    def base_offset(self, entries: Iterable[Entry]) -> int:
        """The changelog offset below which no entry is live once ``entries`` are written."""
        return self.live.base_offset({key for key, _ in entries}, self.changelog_offset)

    def applied(
        self, link: Link, first_offset: int, next_offset: int, entries: Sequence[Entry]
    ) -> None:
        """C4, and each step of A3: apply the whole commit ``link``, whose parts begin at
        ``first_offset``.

        All entries get the offset of the first part, so that a log trimmed to a live entry begins
        with a whole commit. A link that opens an epoch empties the store first.
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
