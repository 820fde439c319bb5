"""Which rows of window tables count on a shard, while days move (docs/protocols/shard_moves.md).

A statement about one shard carries this condition, made from one reading of the servers' record. So
the statements of one question, to whichever shards, all see a day either moved or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from streams.connect.sinks.map_record import RecordedMap
from streams.connect.sinks.shard_maps import KnownMaps
from streams.connect.sinks.sharding import (
    DirectorySharding,
    HashSharding,
    RangeSharding,
    ShardMap,
    Strategy,
    WithoutShards,
)
from streams.core.rows.clickhouse_table import ClickHouseTable, quoted
from streams.core.rows.dated_map import DAY_S
from streams.core.rows.moved_mark import mark, token

_NAMES = "toString(tenant), char(0), toString(model), char(0), toString(metric)"
HASH = f"xxHash64(concat({_NAMES}))"
"""as `streams.connect.sinks.sharding.series_hashes`"""
_SECOND_HASH = f"xxHash64(concat({_NAMES}, char(0)))"


class RowPlacement(NamedTuple):
    """How maps place the rows of a table, as SQL: ``hash`` of what chooses the shard, a UInt64, and ``placed``,
    the shard that a map gives to a row."""

    hash: str
    placed: Callable[[ShardMap], str]


def by_key(table: ClickHouseTable) -> RowPlacement:
    """Of rows of `app.windows`, as `ShardMap.shard_of_key` of the values of ``shard_by``."""
    texts = ", char(0), ".join(_text(table, name) for name in table.shard_by)
    hashed, second = f"xxHash64(concat({texts}, ''))", f"xxHash64(concat({texts}, char(0)))"

    def placed_key(shard_map: ShardMap) -> str:
        shard, strategy = f"jumpConsistentHash({hashed}, {shard_map.shards})", shard_map.strategy
        if not isinstance(strategy, WithoutShards):
            return shard
        chosen = _at(strategy.left, f"jumpConsistentHash({second}, {len(strategy.left)})")
        return f"if({shard} IN {_tuple(strategy.away)}, {chosen}, {shard})"

    return RowPlacement(hashed, placed_key)


def _text(table: ClickHouseTable, name: str) -> str:
    """As Python's ``str`` of the value."""
    if "Bool" in str(table.types[name]):
        return f"if(`{name}`, 'True', 'False')"
    return f"toString(`{name}`)"


def placed(strategy: Strategy) -> str:
    """SQL of the shard that a map gives to the series of a row."""
    if isinstance(strategy, WithoutShards):
        inner, left = placed(strategy.inner), strategy.left
        chosen = _at(left, f"jumpConsistentHash({_SECOND_HASH}, {len(left)})")
        return f"if(({inner}) IN {_tuple(strategy.away)}, {chosen}, {inner})"
    if isinstance(strategy, RangeSharding):
        lower = ", ".join(map(quoted, strategy.lower))
        below = f"arrayCount(low -> low <= toString(tenant), [{lower}])"
        return f"[{', '.join(map(str, strategy.shard))}][{below}]"
    if isinstance(strategy, DirectorySharding):
        names = ", ".join(map(quoted, strategy.tenants))
        shards = ", ".join(f"toInt32({shard})" for shard in strategy.tenants.values())
        others = f"toInt32({placed(strategy.others)})"
        return f"transform(toString(tenant), [{names}], [{shards}], {others})"
    assert isinstance(strategy, HashSharding), "a strategy is one of four"
    if not strategy.weights:
        return f"jumpConsistentHash({HASH}, {strategy.shards})"
    owner = [shard for shard, weight in enumerate(strategy.weights) for _ in range(weight)]
    return _at(owner, f"jumpConsistentHash({HASH}, {len(owner)})")


def within(days: Sequence[int]) -> str:
    """SQL: the window of a row begins on one of these ascending UTC days."""
    return " OR ".join(
        f"w >= toDateTime({first * DAY_S}, 'UTC') AND w < toDateTime({(last + 1) * DAY_S}, 'UTC')"
        for first, last in _runs(days)
    )


BY_SERIES: Final = RowPlacement(HASH, lambda shard_map: placed(shard_map.strategy))
"""of m1, h1 and d1"""


def arrived(version: int) -> str:
    """SQL: the move brought the row to its shard."""
    return f"moved >= {token(version, 0)} AND moved < {mark(version)}"


def counted(known: KnownMaps, shard: int, by: RowPlacement = BY_SERIES) -> str:
    """SQL, empty or beginning with AND: the row counts on this shard."""
    return _counted(known.moves, shard, by)


def counted_in(
    known: KnownMaps, tables: Mapping[str, ClickHouseTable], name: str, shard: int
) -> str:
    """As `counted`, for a table of any kind, by its name."""
    table = tables.get(name)
    if table is None:
        return counted(known, shard)
    return counted(known, shard, by_key(table)) if table.day_of else ""


def originals(known: KnownMaps, version: int, shard: int, by: RowPlacement = BY_SERIES) -> str:
    """SQL: the row counts on this shard before the move ``version`` is shown, and is none that was
    placed by it."""
    before = [one for one in known.moves if one.record.version < version]
    return f"moved < {token(version, 0)}{_counted(before, shard, by)}"


def _counted(moves: Sequence[RecordedMap], shard: int, by: RowPlacement) -> str:
    """A copy counts once its day is shown. What was there before, by this move's place in their order,
    counts until then, and afterwards if its series stays."""
    text = ""
    for one in moves:
        version, shown = one.record.version, one.shown
        if len(shown) < len(one.record.days):
            early = f" AND NOT ({within(shown)})" if shown else ""
            text += f" AND NOT ({arrived(version)}{early})"
        if shown:
            older = f"moved < {token(version, 0)}"
            leaves = f"({by.placed(one.record.shard_map)}) != {shard}"
            text += f" AND NOT (({within(shown)}) AND {older} AND {leaves})"
    return text


def _runs(days: Sequence[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for day in days:
        if found and found[-1][1] == day - 1:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def _at(values: Sequence[int], index: str) -> str:
    return f"[{', '.join(map(str, values))}][{index} + 1]"


def _tuple(values: Sequence[int]) -> str:
    return f"({', '.join(map(str, values))})"
