"""Binary encoding of outbox entries: a key, and MessagePack as the value.

b"L" epoch:u32              the partition's ledger row of an epoch; each commit replaces it
b"D" seq:u64 part:u32       dead_letters rows of the commit ``seq``
b"F" seq:u64 part:u32 table rows of another table of facts, of the commit ``seq``
b"S" seq:u64 part:u32 sink  rows of a sink, of the commit ``seq``
b"C" cache 00 name          the newest value of a name in a versioned cache
b"R" bucket:u8 shard:u16 start_min:u32
                            an hour (0) or day (1) of one shard to recompute
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from streams.core.errors import UnknownTarget
from streams.core.rows.built_in_tables import Bucket, FactRows, commit_version
from streams.core.rows.clickhouse_table import MOVED, ClickHouseTable
from streams.core.rows.dated_map import ShardOfKey, shard_key_text
from streams.core.rows.operational_tables import DEAD_LETTERS, LEDGER
from streams.core.rows.row_sink import RowBatch
from streams.core.rows.targets import Targets
from streams.core.types import TopicPartition
from streams.engine.agents.agent import Change
from streams.engine.runtime.effects.dead_letters import Row, columns
from streams.engine.runtime.offsets.shed_order import ShedOrder
from streams.engine.state.changelog import Link
from streams.engine.state.placements import KeyMap
from streams.engine.state.table import MAX_ENTRY_BYTES

_LEDGER = struct.Struct(">cI")
_DEAD = _FACTS = struct.Struct(">cQI")
_ROLL_UP = struct.Struct(">cBHI")
_OWN: Mapping[bytes, str] = {b"L": LEDGER.name, b"D": DEAD_LETTERS.name}
_NAMED = (b"F", b"S")
_BUCKETS: tuple[Bucket, ...] = ("h1", "d1")
_MINUTES_PER_DAY = 1440
_MS_PER_DAY = 86_400_000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, list[Any]]).decode
_decode_change = msgspec.msgpack.Decoder(tuple[int, bytes, list[bytes]]).decode
_FACTS_BYTES = MAX_ENTRY_BYTES // 2
_NO_STAMP: Mapping[str, Any] = MappingProxyType({})


class RollUp(NamedTuple):
    """One hour or day of one shard; ``start_s`` in seconds since the Unix epoch."""

    shard: int
    bucket: Bucket
    start_s: int


def ledger_key(epoch: int) -> bytes:
    return _LEDGER.pack(b"L", epoch)


def dead_letters(seq: int, rows: Sequence[Row]) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the dead letters of one commit, each within the bound of a changelog
    entry."""
    for part, value in enumerate(_cut(rows)):
        yield _DEAD.pack(b"D", seq, part), value


def facts(
    seq: int, table: str, rows: Sequence[Row], stamp: Mapping[str, Any] = _NO_STAMP
) -> Iterator[tuple[bytes, bytes]]:
    """The same for rows of a table. ``stamp``: columns with one value for all rows."""
    for part, value in enumerate(_cut(rows, stamp)):
        yield _FACTS.pack(b"F", seq, part) + table.encode(), value


def sink_rows(
    seq: int, sink: str, rows: Sequence[Row], stamp: Mapping[str, Any] = _NO_STAMP
) -> Iterator[tuple[bytes, bytes]]:
    """The same for rows of a sink."""
    for part, value in enumerate(_cut(rows, stamp)):
        yield _FACTS.pack(b"S", seq, part) + sink.encode(), value


def row_batch(group: str, source: TopicPartition, key: bytes, value: bytes) -> RowBatch | None:
    """The rows that an effect owes a sink; None for another kind of effect."""
    if key[:1] != b"S":
        return None
    columns = _decode(value)
    _, _, part = _FACTS.unpack_from(key)
    sink = key[_FACTS.size :].decode()
    return RowBatch(sink, group, source, columns["ver"][0], part, columns)


def _cut(rows: Sequence[Row], stamp: Mapping[str, Any] = _NO_STAMP) -> Iterator[bytes]:
    """Encoded columns of consecutive rows, each below the bound of an entry: the broker would
    refuse a larger changelog record in each attempt."""
    stamps = {name: [value] * len(rows) for name, value in stamp.items()}
    value = encode_columns({**columns(rows), **stamps})
    if len(value) <= _FACTS_BYTES or len(rows) == 1:
        yield value
        return
    half = len(rows) // 2
    yield from _cut(rows[:half], stamp)
    yield from _cut(rows[half:], stamp)


class CacheChange(NamedTuple):
    cache: str
    name: str
    version: int
    body: bytes
    events: list[bytes]


def cache_effect(change: Change, version: int) -> tuple[bytes, bytes]:
    key = b"C" + change.cache.encode() + b"\0" + change.name.encode()
    return key, _encode((version, change.body, change.events))


def cache_change(key: bytes, value: bytes) -> CacheChange | None:
    if key[:1] != b"C":
        return None
    cache, _, name = key[1:].partition(b"\0")
    return CacheChange(cache.decode(), name.decode(), *_decode_change(value))


def roll_up_keys(touched: Iterable[tuple[int, int]]) -> list[bytes]:
    """Ascending keys of the hours and days of evicted windows. ``touched``: (shard, start of the
    hour in minutes)."""
    keys = set()
    for shard, hour in touched:
        keys.add(_ROLL_UP.pack(b"R", 0, shard, hour))
        keys.add(_ROLL_UP.pack(b"R", 1, shard, hour // _MINUTES_PER_DAY * _MINUTES_PER_DAY))
    return sorted(keys)


def roll_up(key: bytes) -> RollUp | None:
    if key[:1] != b"R":
        return None
    _, bucket, shard, start_min = _ROLL_UP.unpack(key)
    return RollUp(shard, _BUCKETS[bucket], start_min * 60)


def encode_columns(columns: Mapping[str, Sequence[Any]]) -> bytes:
    return _encode(dict(columns))


def is_known(targets: Targets, key: bytes) -> bool:
    kind = key[:1]
    if kind == b"R":
        return len(key) == _ROLL_UP.size and key[1] < len(_BUCKETS)
    if kind in _NAMED:
        return key[_FACTS.size :].decode() in (targets.tables if kind == b"F" else targets.sinks)
    return kind in (b"L", b"D", b"C")


def check_targets(targets: Targets, keys: Iterable[bytes]) -> None:
    """Raises `UnknownTarget` if an effect cannot be handed over."""
    unknown = [key for key in keys if not is_known(targets, key)]
    if unknown:
        first = unknown[0]
        named = repr(first[_FACTS.size :].decode() if first[:1] in _NAMED else first[:1])
        raise UnknownTarget(
            f"the state owes {len(unknown)} effects to targets that neither this version of dia "
            f"nor the app declares; the first target is {named}. All are kept. Declare it again, "
            "or run the version that wrote them; `dia tables outbox list` shows them, and `dia "
            "tables outbox drop` turns them into dead letters."
        )


class EffectTarget(NamedTuple):
    """``kind``: "table", "sink", "cache", "roll-up", or "unknown" to this version."""

    kind: str
    name: str


def target_of(key: bytes) -> EffectTarget:
    kind = key[:1]
    if kind in _OWN:
        return EffectTarget("table", _OWN[kind])
    if kind in _NAMED:
        name = key[_FACTS.size :].decode(errors="replace")
        return EffectTarget("table" if kind == b"F" else "sink", name)
    if kind == b"C":
        return EffectTarget("cache", key[1:].partition(b"\0")[0].decode(errors="replace"))
    if kind == b"R" and len(key) == _ROLL_UP.size and key[1] < len(_BUCKETS):
        return EffectTarget("roll-up", _BUCKETS[key[1]])
    return EffectTarget("unknown", repr(kind)[2:-1])


def rows_in(key: bytes, value: bytes) -> list[dict[str, Any]]:
    """The rows that an effect owes a table or sink; empty for another kind."""
    if target_of(key).kind not in ("table", "sink"):
        return []
    columns = _decode(value)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def fact_rows(
    tables: Mapping[str, ClickHouseTable],
    key: bytes,
    value: bytes,
    shard_of_id: ShardOfKey,
    later: Sequence[KeyMap] = (),
) -> list[FactRows]:
    """The rows of a facts effect, by shard. Others as in `rows_by_shard`."""
    table = key[_FACTS.size :].decode() if key[:1] == b"F" else _OWN[key[:1]]
    return rows_by_shard(tables[table], _decode(value), shard_of_id, later)


def rows_by_shard(
    table: ClickHouseTable,
    found: Mapping[str, Sequence[Any]],
    shard_of_id: ShardOfKey,
    later: Sequence[KeyMap] = (),
) -> list[FactRows]:
    """``shard_of_id``: of the first map. ``later``: the maps that place rows of a table with ``day_of``
    by their day; such rows get ``moved``."""
    by_shard: dict[int, list[int]] = {}
    moved: list[int] = []
    places: Iterator[tuple[ShardOfKey, int]] = repeat((shard_of_id, 0))
    if later and table.day_of:
        places = _places(found[table.day_of], shard_of_id, later)
    keys = zip(*(found[name] for name in table.shard_by), strict=True)
    for index, (row_id, (shard_of, mark)) in enumerate(zip(keys, places, strict=False)):
        by_shard.setdefault(shard_of(shard_key_text(row_id)), []).append(index)
        moved.append(mark)
    if table.day_of:
        found = {**found, MOVED: moved}
    return [
        FactRows(table, shard, {n: list(map(c.__getitem__, rows)) for n, c in found.items()})
        for shard, rows in by_shard.items()
    ]


def has_days(times_ms: Iterable[int], first_day: int, last_day: int) -> bool:
    """Whether a time is on one of these UTC days, in days since 1970."""
    return any(first_day <= at_ms // _MS_PER_DAY <= last_day for at_ms in times_ms)


def owes_days(
    tables: Mapping[str, ClickHouseTable],
    owed: Iterable[tuple[bytes, bytes]],
    first_day: int,
    last_day: int,
) -> bool:
    """Whether ``owed`` effects have a row of `app.windows` of these days."""
    for key, value in owed:
        table = tables.get(key[_FACTS.size :].decode()) if key[:1] == b"F" else None
        if table is None or not table.day_of:
            continue
        if has_days(_decode(value)[table.day_of], first_day, last_day):
            return True
    return False


def _places(
    times_ms: Sequence[int], first: ShardOfKey, later: Sequence[KeyMap]
) -> Iterator[tuple[ShardOfKey, int]]:
    """The placement of each row and its ``moved``, by the UTC day of its time: that of the last move of the day,
    else of the last map that begins by then."""
    of_day: dict[int, tuple[ShardOfKey, int]] = {}
    for at_ms in times_ms:
        day = at_ms // _MS_PER_DAY
        if day not in of_day:
            chosen = [one for one in later if one.places(day)]
            chosen.sort(key=lambda one: one.moved)
            of_day[day] = (chosen[-1].shard_of, chosen[-1].moved) if chosen else (first, 0)
        yield of_day[day]


def ledger_columns(group: str, tp: TopicPartition, link: Link, now_ms: int) -> dict[str, list[Any]]:
    """The ledger row of a commit: cumulative counters of its epoch up to ``next_offset``."""
    counters = link.counters
    return {
        "grp": [group],
        "topic": [tp.topic],
        "part": [tp.partition],
        "next_offset": [link.next_offset],
        "read": [counters.read],
        "applied": [counters.applied],
        "duplicates": [counters.duplicates],
        "dead": [counters.dead],
        "gaps": [counters.gaps],
        "dead_by_code": [counters.dead_by_code],
        "ver": [commit_version(link.epoch, link.seq)],
        "at": [now_ms],
        "epoch": [link.epoch],
        "shed": [counters.shed],
    }


def shed_range(
    group: str, tp: TopicPartition, epoch: int, first: int, order: ShedOrder
) -> dict[str, Any]:
    """The `shed_ranges` row of an order carried out from offset ``first`` on."""
    return {
        "grp": group,
        "topic": tp.topic,
        "part": tp.partition,
        "epoch": epoch,
        "from_offset": first,
        "to_offset": order.until,
        "shed": order.until - first,
        "order_id": order.id,
        "actor": order.actor,
        "reason": order.reason,
        "cutoff": order.before_ms,
        "ordered": order.at_ms,
    }
