"""What the servers record about shard maps, as a process needs it (docs/protocols/shard_maps.md).

Every process begins with the map of its settings (`assumed`), and asks the servers before it uses a
shard (`look`). A process that lives long asks again (`LiveMaps`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from streams.connect.sinks import map_record, sharding
from streams.connect.sinks.map_record import MapRecord, RecordedMap
from streams.connect.sinks.replica import UNKNOWN_TABLE, Replica, StatementRefused
from streams.core.clock import Clock
from streams.core.errors import ShardBusy, ShardMapChanged, ShardUnavailable
from streams.core.rows.built_in_tables import MAP_HINT
from streams.core.rows.dated_map import DatedMap, MapIdentity
from streams.core.settings import Settings

ANSWER_S: Final = 5.0
READ_AGE_S: Final = 10.0
"""A reader asks again before a question when its knowledge is older."""
_ASK_AGAIN_S: Final = 5.0
"""Questions fail at once for this time after no server said its maps: each attempt may take long."""


@dataclass(frozen=True, slots=True)
class KnownMaps:
    """At least one map. ``urls``: of every shard, its replicas. ``recorded``: a server said so;
    else they are those of the settings. ``doubt``: why they may be too old for a question, or ""."""

    maps: tuple[RecordedMap, ...]
    urls: tuple[tuple[str, ...], ...]
    recorded: bool
    doubt: str = ""

    @property
    def first(self) -> sharding.ShardMap:
        """Places facts that have no day."""
        return self.maps[0].record.shard_map

    @property
    def identity(self) -> MapIdentity:
        """What every server claims."""
        return self.first.identity

    @property
    def in_force(self) -> tuple[DatedMap, ...]:
        return tuple(one.dated() for one in self.maps if one.in_force)

    @property
    def newest(self) -> RecordedMap:
        """The last map that is no move."""
        return next(one for one in reversed(self.maps) if one.record.last_day is None)

    @property
    def moves(self) -> list[RecordedMap]:
        return [one for one in self.maps if one.record.last_day is not None]

    def shards_of(self, tenant: str, model: str, metric: str) -> list[int]:
        """Every shard that may have rows of a series, ascending: a partition may take a map later
        than its first day, so each map counts for each day."""
        maps = (one.record.shard_map for one in self.maps)
        return sorted({int(one.shard_of([tenant], [model], [metric])[0]) for one in maps})

    def shards_of_key(self, key: str) -> list[int]:
        """Every shard that may have rows of `app.windows` of a key, ascending."""
        return sorted({one.record.shard_map.shard_of_key(key) for one in self.maps})


def assumed(settings: Settings) -> KnownMaps:
    """The map that the settings name. Raises `UsageError` as `sharding.load`."""
    urls = tuple(tuple(group) for group in settings.shards())
    record = MapRecord.of(sharding.declared(settings), urls)
    return KnownMaps((RecordedMap(record, in_force=True),), urls, recorded=False)


def known(settings: Settings, recorded: Sequence[RecordedMap]) -> KnownMaps:
    """The recorded maps, with the settings' addresses of the shards that they name. Raises
    `ShardMapChanged` if the settings' map is not among them."""
    mine = assumed(settings)
    if not recorded:
        return mine
    identity = mine.identity
    described = [one.record.shard_map.identity for one in recorded]
    if identity.digest not in {one.digest for one in described}:
        identity = sharding.declared(settings).identity  # with the number in the user's file
        there = ", then ".join(f"{one.description} [{one.digest}]" for one in described)
        raise ShardMapChanged(
            f"this process has {identity.description} [{identity.digest}], and the ClickHouse "
            f"servers record {there}. {MAP_HINT}"
        )
    urls = mine.urls + recorded[-1].record.urls[len(mine.urls) :]
    return KnownMaps(tuple(recorded), urls, recorded=True)


def look(settings: Settings) -> KnownMaps:
    """Ask one server after another until one has a record. Blocks for `ANSWER_S` a server at most.
    Without an answer: `assumed`, for a process that keeps its rows, or asks again before it uses a
    shard. Raises `ShardMapChanged`."""
    found, replica = _best_record(settings)
    if replica is not None:
        replica.close()
    return known(settings, found)


def told(settings: Settings) -> KnownMaps:
    """As `look`, for readers and commands: raises `ShardUnavailable` where no server says its maps,
    unless none is migrated. By the map of the settings, a question or a view could leave out a shard
    that was added, and count moved rows twice. Where none answers within `ANSWER_S`, each is asked once
    more for ``sink_timeout_s``: a server that has just started answers its first question late."""
    try:
        found, replica = _best_record(settings, strict=True)
    except ShardUnavailable:
        if settings.sink_timeout_s <= ANSWER_S:
            raise
        found, replica = _best_record(settings, strict=True, answer_s=settings.sink_timeout_s)
    if replica is not None:
        replica.close()
    return known(settings, found)


def _best_record(
    settings: Settings, *, strict: bool = False, answer_s: float = ANSWER_S
) -> tuple[list[RecordedMap], Replica | None]:
    """The record of the first server on which all maps are in force, else of the one with most of
    them; and that server, open. An order that puts a map in force may have broken off between two
    servers."""
    best: list[RecordedMap] = []
    kept: Replica | None = None
    silent: ShardUnavailable | ShardBusy | None = None
    for url in (url for group in settings.shards() for url in group):
        server = replica_at(replace(settings, sink_timeout_s=answer_s), url)
        found: list[RecordedMap] = []
        try:
            found = recorded_at(server)
        except (ShardUnavailable, ShardBusy) as error:
            silent = error
        unused: Replica | None = server
        if in_force(found) > in_force(best):
            best, kept, unused = found, server, kept
        if unused is not None:
            unused.close()
        if best and best[-1].in_force:
            break
    if strict and not best and silent is not None:
        raise ShardUnavailable(
            "no server says its shard maps, so rows of added shards could be left out. Try again once "
            f"a ClickHouse server answers. {silent}"
        )
    return best, kept


def in_force(maps: Sequence[RecordedMap]) -> int:
    return sum(one.in_force for one in maps)


def recorded_at(replica: Replica) -> list[RecordedMap]:
    """The maps that one server records; none if it is not migrated. Raises `ShardUnavailable`,
    `ShardBusy` and `ShardMapChanged`."""
    try:
        rows = replica.query(map_record.READ)[1]
        moving = any(one.record.last_day is not None for one in map_record.read(rows))
        return map_record.read(rows, replica.query(map_record.READ_DAYS)[1] if moving else ())
    except StatementRefused as error:
        if error.code in UNKNOWN_TABLE:
            return []
        raise ShardUnavailable(
            f"ClickHouse at {replica.url} does not read its shard maps: {error}"
        ) from error


def replica_at(settings: Settings, url: str) -> Replica:
    """A server whose claim is not checked."""
    return Replica(
        url,
        user=settings.clickhouse_user,
        password=settings.clickhouse_password(),
        database=settings.clickhouse_database,
        timeout_s=settings.sink_timeout_s,
        pool_size=1,
        tls=settings.clickhouse_tls(),
    )


class LiveMaps:
    """The maps for a process that reads; it asks again before a question when what it knows is
    older than `READ_AGE_S`."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.known = assumed(settings) if settings.shards() else None
        self._settings = settings
        self._clock = clock
        self._read_at: float | None = None
        self._asking = asyncio.Lock()
        self._failure: ShardUnavailable | None = None
        self._failed_at = 0.0
        self._replica: Replica | None = None
        """the server that answered last"""

    async def fresh(self) -> KnownMaps:
        """Raises `ShardMapChanged`; and `ShardUnavailable` without a configured shard, as `told`, or
        where the servers that answer lack a map that was in force: older knowledge may count moved rows
        twice, or not at all."""
        if self.known is None:
            raise ShardUnavailable("no ClickHouse shard is known: set DIA_CLICKHOUSE_SHARDS.")
        async with self._asking:
            now_s = self._clock.monotonic()
            if self._read_at is not None and now_s - self._read_at < READ_AGE_S:
                return self.known
            if self._failure is not None and now_s - self._failed_at < _ASK_AGAIN_S:
                raise ShardUnavailable(str(self._failure))
            try:
                found = await asyncio.to_thread(self._ask, self.known)
            except ShardUnavailable as error:
                self._failure, self._failed_at = error, self._clock.monotonic()
                raise
            self.known, self._failure = known(self._settings, found), None
            self._read_at = self._clock.monotonic()
            return self.known

    def close(self) -> None:
        replica, self._replica = self._replica, None
        if replica is not None:
            replica.close()

    def _ask(self, before: KnownMaps) -> list[RecordedMap]:
        if self._replica is not None:
            try:
                found = recorded_at(self._replica)
            except (ShardUnavailable, ShardBusy):
                found = []
            if found and not _lacks(found, before):
                return found
            self.close()
        found, self._replica = _best_record(self._settings, strict=True)
        if _lacks(found, before):
            raise ShardUnavailable(
                f"the ClickHouse servers that answer record {len(found)} shard maps, and "
                f"{in_force(before.maps)} were in force: rows of added shards could be left out. Try again "
                "once the other servers answer; if all were set up anew, start this process again."
            )
        return found


def _lacks(found: Sequence[RecordedMap], before: KnownMaps) -> bool:
    """Whether a map is missing that was in force. An announced one may have been withdrawn, and a server
    that an order to put a map in force has not reached yet records it as announced."""
    return before.recorded and len(found) < in_force(before.maps)
