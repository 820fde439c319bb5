"""`MoveStore` of in-memory shards."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from xxhash import xxh64_intdigest

from streams.connect.sinks.map_record import DayState, MapRecord
from streams.connect.sinks.memory import MemoryShards, merged
from streams.connect.sinks.memory_replica import Row
from streams.connect.sinks.moves.store import HASH_BITS, Answers, Portion, Series, Tally
from streams.connect.sinks.sharding import series_hashes
from streams.core.rows.built_in_tables import WINDOW_TABLES, Bucket
from streams.core.rows.dated_map import shard_key_text
from streams.core.rows.moved_mark import mark, token

_HOUR_S = 3600
_OTHERS = frozenset({"at", "moved", "part"})
_SUMS = frozenset({"s1", "s2", "mean", "m2"})
"""Another recomputation may round them otherwise."""


class MemoryMoves:
    """``version``: that of the move, among the recorded maps of ``shards``."""

    def __init__(self, shards: MemoryShards, version: int) -> None:
        self._shards = shards
        self._record = shards.recorded_moves[version]

    @property
    def record(self) -> MapRecord:
        return self._record

    @property
    def shards(self) -> int:
        return self._shards.count

    @property
    def tables(self) -> Sequence[str]:
        return [one for one in self._shards.stored_tables if self._shards.moves(one)]

    def leaving(self, table: str, day: int, source: int) -> Mapping[int, int]:
        rows = self._originals(table, day, source)
        return Counter(target for row in rows if (target := self._placed(table, row)) != source)

    def tally(self, portion: Portion, *, copies: bool) -> Tally:
        rows = self._content(portion, copies=copies)
        digest = 0
        for row in rows:
            digest ^= hash(_content(portion.table, row))
        events = [row["n"] if portion.table in WINDOW_TABLES else 1 for row in rows]
        return Tally(len(rows), sum(events), digest)

    def copy(self, portion: Portion) -> None:
        moved = token(self._record.version, portion.source)
        rows = [{**row, "moved": moved} for row in self._content(portion, copies=False)]
        for row in rows:
            if row.get("inc") == 0 and portion.table in WINDOW_TABLES:
                row["part"] = moved
        self._shards.put(portion.target, portion.table, rows)

    def _content(self, portion: Portion, *, copies: bool) -> list[Row]:
        """A target has one recomputed row of each series and hour from a source, which may have several:
        of rows that came to it, or were placed there, by different moves."""
        rows = self._rows(portion, copies=copies)
        if portion.table not in WINDOW_TABLES:
            return rows
        buckets: defaultdict[tuple[Series, int], list[Row]] = defaultdict(list)
        for row in rows:
            if not row["inc"]:
                buckets[_series(row), row["w"]].append(row)
        joined = [merged(parts, start_s) for (_, start_s), parts in sorted(buckets.items())]
        return [*(row for row in rows if row["inc"]), *joined]

    def delete_portion(self, portion: Portion) -> None:
        rows = self._rows(portion, copies=True)
        self._shards.drop(portion.target, portion.table, rows)

    def copies(self, day: int) -> int:
        return sum(
            len(self._arrived(table, shard, day))
            for table in self.tables
            for shard in range(self.shards)
        )

    def answers(
        self, day: int, source: int, target: int, size: int, seed: int, *, copies: bool
    ) -> Answers:
        originals = [
            row for row in self._originals("m1", day, source) if self._placed("m1", row) == target
        ]
        every = max(1, len({_series(row) for row in originals}) // size)
        rows = self._copies("m1", day, source, target) if copies else originals
        found: defaultdict[Series, list[Row]] = defaultdict(list)
        for row in rows:
            if (self._hash("m1", row) ^ seed) % every == 0:
                found[_series(row)].append(row)
        return {series: _hours(its) for series, its in found.items()}

    def roll_up(self, shard: int, table: Bucket, start_s: int) -> None:
        self._shards.recompute(shard, table, start_s)

    def state(self, day: int) -> DayState:
        return self._shards.day_state(self._record.version, day)

    def enter(self, day: int, state: DayState) -> None:
        self._shards.enter_day(self._record.version, day, state)

    def delete_originals(self, day: int) -> None:
        for shard in range(self.shards):
            for table in self.tables:
                rows = self._originals(table, day, shard)
                leaving = [row for row in rows if self._placed(table, row) != shard]
                self._shards.drop(shard, table, leaving)

    def delete_copies(self, day: int) -> None:
        for shard in range(self.shards):
            for table in self.tables:
                self._shards.drop(shard, table, self._arrived(table, shard, day))

    def _arrived(self, table: str, shard: int, day: int) -> list[Row]:
        first, end = token(self._record.version, 0), mark(self._record.version)
        rows = self._shards.stored(table, shard)
        day_of = self._shards.day
        return [one for one in rows if first <= one["moved"] < end and day_of(table, one) == day]

    def _placed(self, table: str, row: Row) -> int:
        return self._shards.placed(self._record.version, table, row)

    def _originals(self, table: str, day: int, source: int) -> list[Row]:
        rows = self._shards.stored(table, source)
        version = self._record.version
        return [
            row
            for row in rows
            if self._shards.day(table, row) == day
            and row["moved"] < token(version, 0)
            and self._shards.counts_before(table, row, source, version)
        ]

    def _copies(self, table: str, day: int, source: int, target: int) -> list[Row]:
        moved = token(self._record.version, source)
        rows = self._shards.stored(table, target)
        return [
            row for row in rows if self._shards.day(table, row) == day and row["moved"] == moved
        ]

    def _rows(self, portion: Portion, *, copies: bool) -> list[Row]:
        table, day, source, target = portion.table, portion.day, portion.source, portion.target
        if copies:
            rows = self._copies(table, day, source, target)
        else:
            rows = self._originals(table, day, source)
            rows = [row for row in rows if self._placed(table, row) == target]
        first, end = portion.first, portion.end
        return [row for row in rows if first <= self._hash(table, row) >> (64 - HASH_BITS) < end]

    def _hash(self, table: str, row: Row) -> int:
        names = self._shards.names(table, row)
        if table in WINDOW_TABLES:
            return int(series_hashes(*([name] for name in names))[0])
        return xxh64_intdigest(shard_key_text(names).encode())


def _series(row: Row) -> Series:
    return row["tenant"], row["model"], row["metric"]


def _content(table: str, row: Row) -> tuple[Any, ...]:
    if table not in WINDOW_TABLES:
        return tuple(repr(row[name]) for name in sorted(row.keys() - {"at", "moved"}))
    part = row["part"] if row["inc"] else 0
    columns = sorted(row.keys() - _OTHERS - (frozenset() if row["inc"] else _SUMS))
    values = (row[name] for name in columns)
    return (part, *(tuple(one) if isinstance(one, list) else one for one in values))


def _hours(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    hours: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        hours[row["w"] // _HOUR_S * _HOUR_S].append(row)
    return [
        (
            start_s,
            sum(row["n"] for row in its),
            sum(row["s1"] for row in its),
            min(row["lo"] for row in its),
            max(row["hi"] for row in its),
        )
        for start_s, its in sorted(hours.items())
    ]
