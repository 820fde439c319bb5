"""`ClickHouseShards`, the `ShardSet` of real servers; each shard has its own threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.connect.sinks import arrow, bisection, rollup, shard_maps
from streams.connect.sinks.map_record import RecordedMap
from streams.connect.sinks.replica import Replica, StatementRefused
from streams.connect.sinks.replica_group import READ_DELAY_MAX_S, ReplicaGroup
from streams.connect.sinks.shard_claim import ShardPlace
from streams.connect.sinks.shard_maps import KnownMaps, in_force
from streams.core.clock import Clock
from streams.core.errors import (
    DependencyUnreachable,
    PoolExhausted,
    ShardMapChanged,
    ShardUnavailable,
    TransientError,
)
from streams.core.resilience.unread_error import read_error
from streams.core.rows.built_in_tables import (
    Bucket,
    FactRows,
    Rows,
    RowsRefused,
    WindowRows,
)
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.rows.dated_map import DatedMap, MapIdentity
from streams.core.settings import Settings

MAP_ANSWER_S = 5.0

T = TypeVar("T")

_PARTITION_UNIT = {"m1": "datetime64[D]", "h1": "datetime64[M]", "d1": "datetime64[Y]"}


class Shard:
    def __init__(
        self, index: int, replicas: ReplicaGroup, pool_size: int, acquire_s: float
    ) -> None:
        self.index = index
        self._replicas = replicas
        self._acquire_s = acquire_s
        self._slots = asyncio.Semaphore(pool_size)
        self._threads = ThreadPoolExecutor(pool_size, thread_name_prefix=f"shard-{index}")

    async def run(self, work: Callable[[Replica], T], deadline_s: float) -> T:
        """On the first available replica, beginning with the last that answered.

        Raises `PoolExhausted` when no thread is free in time, `ShardUnavailable` when no replica
        answers or the deadline passes. A thread that still waits for its server keeps its place in
        the pool."""
        try:
            async with asyncio.timeout(self._acquire_s):
                await self._slots.acquire()
        except TimeoutError:
            raise PoolExhausted(
                f"every connection to shard {self.index} stayed in use for {self._acquire_s:g} s. "
                "Raise DIA_SINK_POOL_SIZE, or check the shard's load."
            ) from None
        task = asyncio.get_running_loop().run_in_executor(self._threads, self._replicas.ask, work)
        task.add_done_callback(self._let_go)
        try:
            async with asyncio.timeout(deadline_s):
                return await asyncio.shield(task)
        except TimeoutError:
            raise ShardUnavailable(
                f"shard {self.index} did not answer within {deadline_s:g} s."
            ) from None

    def _let_go(self, task: asyncio.Future[T]) -> None:
        self._slots.release()
        read_error(task)  # the caller may have left at its time limit

    @property
    def confirmed(self) -> bool:
        """Whether a server has confirmed that it holds this shard of this map."""
        return self._replicas.confirmed

    @property
    def behind_s(self) -> float:
        """As `ReplicaGroup.behind_s`."""
        return self._replicas.behind_s

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._replicas.close()


class ClickHouseShards:
    """`ShardSet` documents the methods. Create it with `from_settings`, inside a running event
    loop."""

    def __init__(
        self, settings: Settings, clock: Clock, tables: Mapping[str, ClickHouseTable]
    ) -> None:
        self._settings = settings
        self._tables = tables
        self._clock = clock
        self._timeout_s = settings.sink_timeout_s
        self._retention_days = settings.m1_retention_days
        self._replicated = bool(settings.clickhouse_cluster)
        self._confirmed = self._asked = False
        self._known = shard_maps.assumed(settings)
        self._maps = self._known.in_force
        self._shards: list[Shard] = []
        self._connect()

    @classmethod
    def from_settings(
        cls, settings: Settings, clock: Clock, tables: Mapping[str, ClickHouseTable]
    ) -> ClickHouseShards:
        """Every shard of ``DIA_CLICKHOUSE_SHARDS``, and after `learn` of the newest map, for window
        rows and rows of ``tables`` (by name). Opens no connection."""
        return cls(settings, clock, tables)

    def _connect(self) -> None:
        """Have a `Shard` for each shard of the maps in force."""
        settings, begin, end = self._settings, len(self._shards), self._maps[-1].shards
        if begin >= end:
            return
        replicas = shard_replicas(settings, self._known, writes=True)
        for index, found in enumerate(replicas[begin:end], begin):
            group = ReplicaGroup(found)
            self._shards.append(
                Shard(index, group, settings.sink_pool_size, settings.sink_acquire_s)
            )

    @property
    def count(self) -> int:
        return len(self._shards)

    @property
    def tables(self) -> Mapping[str, ClickHouseTable]:
        return self._tables

    @property
    def identity(self) -> MapIdentity:
        return self._known.identity

    @property
    def maps(self) -> Sequence[DatedMap]:
        return self._maps

    @property
    def confirmed(self) -> bool:
        self._confirmed = self._confirmed or any(shard.confirmed for shard in self._shards)
        return self._confirmed

    async def learn(self, *, certain: bool = False) -> None:
        first_time, self._asked = not self._asked, True
        found = await self._recorded()
        if found is None or len(found.in_force) < len(self._maps):
            if certain:
                raise ShardUnavailable(
                    "no ClickHouse server that answers says all shard maps that are in force, so rows "
                    "could be written where they do not count. Try again once the servers answer."
                )
            return  # a server without the newest record may answer after one that has it
        if found.identity != self._known.identity:
            if not first_time:
                raise ShardMapChanged(
                    f"this process began with {self.identity.description}, before a server "
                    f"answered, and the first map is {found.identity.description}. Start it again."
                )
            for shard in self._shards:
                shard.close()
            self._shards = []
        self._known, self._confirmed = found, True
        self._maps = found.in_force
        self._connect()

    async def _recorded(self) -> KnownMaps | None:
        """What the first server says on which all maps are in force, else the one with most. None: no
        server says its maps."""
        if not self._known.recorded:
            # The claims of the servers may name a map that is not known yet.
            found = await asyncio.to_thread(shard_maps.look, self._settings)
            return found if found.recorded else None
        best: list[RecordedMap] = []
        for shard in self._shards:
            try:
                maps = await shard.run(shard_maps.recorded_at, MAP_ANSWER_S)
            except TransientError:
                continue
            if in_force(maps) > in_force(best):
                best = maps
            if best and best[-1].in_force:
                break
        return shard_maps.known(self._settings, best) if best else None

    def shard_of_key(self, key: str) -> int:
        return self._known.first.shard_of_key(key)

    async def insert(self, shard: int, chunks: Sequence[Rows]) -> None:
        filled = [chunk for chunk in chunks if len(chunk)]
        if filled:
            await self._shards[shard].run(partial(insert_rows, filled), self._timeout_s)

    async def roll_up(self, shard: int, table: Bucket, start_s: int) -> None:
        """Also raises `RollUpExpired` when its minutes have begun to expire."""
        now_s = self._clock.now_ms() / 1000
        rollup.refuse_expired(table, start_s, now_s, self._retention_days)
        work = partial(recompute, table, start_s, replicated=self._replicated)
        await self._shards[shard].run(work, self._timeout_s)

    async def ping(self, shard: int) -> None:
        await self._shards[shard].run(_ping, self._timeout_s)

    async def close(self) -> None:
        for shard in self._shards:
            await asyncio.to_thread(shard.close)


def require_shards(settings: Settings) -> None:
    """Raises `DependencyUnreachable` where no shard is configured."""
    if not settings.shards():
        raise DependencyUnreachable(
            "no ClickHouse shard is known: start the local stack with `dia up`, or set "
            "DIA_CLICKHOUSE_SHARDS."
        )


def shard_replicas(
    settings: Settings, known: KnownMaps | None = None, *, writes: bool = False
) -> list[list[Replica]]:
    """A `Replica` per URL, one inner list per shard of ``known``; None: as the servers say, which
    blocks. Each first checks its server's shard claim; with ``writes``, a server without a claim is
    unavailable. Raises `ShardMapChanged`, and without ``known`` as `shard_maps.told`."""
    if not settings.shards():
        return []
    found = known or shard_maps.told(settings)
    return [
        [
            Replica(
                url,
                user=settings.clickhouse_user,
                password=settings.clickhouse_password(),
                database=settings.clickhouse_database,
                timeout_s=settings.sink_timeout_s,
                pool_size=settings.sink_pool_size,
                tls=settings.clickhouse_tls(),
                place=ShardPlace(shard, found.identity),
                writes=writes,
                replicated=bool(settings.clickhouse_cluster),
            )
            for url in urls
        ]
        for shard, urls in enumerate(found.urls)
    ]


def reading_groups(
    settings: Settings, known: KnownMaps | None = None, *, stale: bool = True
) -> list[ReplicaGroup]:
    """The replicas of every shard for reading; ``known`` as in `shard_replicas`, ``stale`` as in
    `ReplicaGroup`."""
    return [
        ReplicaGroup(found, delay_max_s=READ_DELAY_MAX_S, stale=stale)
        for found in shard_replicas(settings, known)
    ]


async def refuse_other_map(settings: Settings) -> KnownMaps | None:
    """With every server that answers within `MAP_ANSWER_S`. Returns the maps; None without a configured
    shard. Raises `ShardMapChanged`. Readers call this at start."""
    if not settings.shards():
        return None
    impatient = replace(settings, sink_timeout_s=MAP_ANSWER_S)
    known = await asyncio.to_thread(shard_maps.look, impatient)
    replicas = [replica for group in shard_replicas(impatient, known) for replica in group]
    try:
        asked = [asyncio.to_thread(_ping, replica) for replica in replicas]
        found = await asyncio.gather(*asked, return_exceptions=True)
    finally:
        for replica in replicas:
            replica.close()
    for error in found:
        if isinstance(error, ShardMapChanged):
            raise error
    return known


def _ping(replica: Replica) -> None:
    replica.command("SELECT 1")


def insert_rows(chunks: Sequence[Rows], replica: Replica) -> None:
    """Rows of one table, none of the chunks empty. Raises as `ShardSet.insert`."""
    send = partial(replica.insert, f"{chunks[0].table}_local")
    windows = [chunk for chunk in chunks if isinstance(chunk, WindowRows)]
    if windows:
        bisection.store(arrow.table(windows), _partitions(windows), send)
        return
    facts = [chunk for chunk in chunks if isinstance(chunk, FactRows)]
    try:
        rows = arrow.table(facts)
    except arrow.UNFIT:
        _insert_fitting(facts, send)
    else:
        bisection.store(rows, None, send)


def _partitions(windows: Sequence[WindowRows]) -> NDArray[np.int64]:
    w = np.concatenate([chunk.w for chunk in windows]).astype("datetime64[s]")
    return w.astype(_PARTITION_UNIT[windows[0].table]).astype(np.int64)


def _insert_fitting(chunks: Sequence[FactRows], send: Callable[[pa.Table], None]) -> None:
    """Store the rows whose values Arrow accepts, and refuse the others."""
    fit: list[FactRows] = []
    positions: list[int] = []
    refused: list[int] = []
    reason = ""
    singles = (single for chunk in chunks for single in _each(chunk))
    for position, single in enumerate(singles):
        try:
            arrow.table([single])
        except arrow.UNFIT as error:
            refused.append(position)
            reason = f"{type(error).__name__}: {error}"
        else:
            fit.append(single)
            positions.append(position)
    try:
        if fit:
            bisection.store(arrow.table(fit), None, send)
    except RowsRefused as more:
        refused += [positions[i] for i in more.indexes]
    raise RowsRefused(sorted(refused), reason)


def _each(chunk: FactRows) -> list[FactRows]:
    return [
        FactRows(chunk.declared, chunk.shard, {name: [v[i]] for name, v in chunk.columns.items()})
        for i in range(len(chunk))
    ]


def recompute(table: Bucket, start_s: int, replica: Replica, *, replicated: bool) -> None:
    """Raises as `ShardSet.roll_up`."""
    try:
        if replicated:
            # Another replica may have acknowledged the source rows. LIGHTWEIGHT waits for parts,
            # not for merges.
            replica.command(f"SYSTEM SYNC REPLICA {rollup.SOURCE[table]}_local LIGHTWEIGHT")
        replica.command(
            rollup.statement(table),
            {"start": start_s, "stop": start_s + rollup.WIDTH_S[table]},
        )
    except StatementRefused as error:
        raise ShardUnavailable(
            f"{table} of {start_s} could not be recomputed at {replica.url}: {error} "
            "Its schema may be behind: `dia migrate status`."
        ) from error
