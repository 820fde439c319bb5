"""Adds shards: plans a map, announces it to every server, and puts it in force (D1 to D4 of
docs/protocols/shard_maps.md), or withdraws it (W1, W2). Repeating any step is harmless."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec

from streams.connect.sinks import map_record, shard_maps, sharding
from streams.connect.sinks.map_record import MapRecord, RecordedMap, day_of
from streams.connect.sinks.schema import Server, servers
from streams.connect.sinks.shard_maps import READ_AGE_S, KnownMaps
from streams.connect.sinks.sharding import (
    DirectorySharding,
    HashSharding,
    RangeSharding,
    ShardMap,
    WholeStrategy,
    WithoutShards,
)
from streams.core.errors import DependencyUnreachable, RefusedBySafety, ShardUnavailable, UsageError
from streams.core.process.atomic_file import write_atomically
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.settings import Settings

READERS_S = 2 * READ_AGE_S
"""Between the last announcement and the first row by the new map: a reader's knowledge is at most
`READ_AGE_S` old when it asks."""


class GrowthPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``after``: digest of the map that ``record`` follows."""

    after: str
    record: MapRecord


def tomorrow() -> date:
    return datetime.now(UTC).date() + timedelta(days=1)


def planned(
    settings: Settings,
    known: KnownMaps,
    urls: Sequence[Sequence[str]],
    first: date,
    *,
    weight: int = 1,
    strategy: str = "",
) -> GrowthPlan:
    """D1: a map with one more shard for each of ``urls``, for windows from the day ``first`` on.
    ``strategy`` as DIA_SHARDING; "": that of the newest map.

    Raises `UsageError`, and `RefusedBySafety` when no server records a map yet.
    """
    if not known.recorded:
        raise RefusedBySafety(
            "no server records a shard map yet. `dia migrate apply` prepares them."
        )
    last, newest = last_in_force(known), known.newest
    if first < tomorrow():
        raise UsageError(f"--from {first} has begun: the first day is {tomorrow()} (UTC) at least.")
    if day_of(first) < newest.record.first_day:
        raise UsageError(f"--from {first} is before {newest.record.day}, the day of the last map.")
    taken = {url for group in known.urls for url in group}
    for url in (url for group in urls for url in group):
        if url in taken:
            raise UsageError(f"{url} is named twice: it is a server of another shard.")
        taken.add(url)
    shard_map = _grown(settings, newest.record.shard_map, len(urls), weight, strategy)
    groups = (*known.urls, *urls)
    record = MapRecord.of(
        shard_map, groups, version=last.record.version + 1, first_day=day_of(first)
    )
    return GrowthPlan(after=last.record.identity.digest, record=record)


def last_in_force(known: KnownMaps) -> RecordedMap:
    """The last recorded map. Raises `RefusedBySafety` unless it is in force."""
    last = known.maps[-1]
    if not last.in_force:
        raise RefusedBySafety(
            f"map {last.record.version} is announced and not in force: `dia shards apply` with "
            "its plan has to finish first."
        )
    return last


def _grown(
    settings: Settings, before: ShardMap, added: int, weight: int, strategy: str
) -> ShardMap:
    count = before.shards + added
    if strategy:
        return sharding.load(strategy, count, datetime.now(UTC).date())
    now = before.strategy
    if isinstance(now, RangeSharding):
        raise UsageError("tenants are placed by ranges: name the new ones, --sharding range:FILE.")
    if isinstance(now, WithoutShards):
        inner = _grown(settings, ShardMap(before.shards, now.inner), added, weight, "")
        assert isinstance(inner.strategy, WholeStrategy), "it grows from one"
        return ShardMap(count, WithoutShards(count, inner.strategy, now.away))
    hashed = now.others if isinstance(now, DirectorySharding) else now
    assert isinstance(hashed, HashSharding), "a strategy is one of four"
    weights = (*(hashed.weights or (1,) * before.shards), *(weight,) * added)
    grown = HashSharding(count, weights if len(set(weights)) > 1 else ())
    if isinstance(now, DirectorySharding):
        return ShardMap(count, DirectorySharding(now.tenants, grown))
    return ShardMap(count, grown)


def read_plan(path: Path) -> GrowthPlan:
    """Raises `UsageError`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=GrowthPlan)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path} is not a plan of `dia shards plan`: {error}.") from error


def write_plan(path: Path, plan: GrowthPlan) -> None:
    write_atomically(path, msgspec.json.encode(plan))


def shares(
    plan: GrowthPlan, before: ShardMap, series: Sequence[tuple[str, str, str]]
) -> list[tuple[float, float]]:
    """Of each shard, its share of ``series`` by the map before and by the planned one."""
    columns = [list(names) for names in zip(*series, strict=True)]
    count, after = plan.record.shards, plan.record.shard_map
    found = []
    for shard_map in (before, after):
        placed = shard_map.shard_of(*columns).tolist()
        found.append([placed.count(shard) / len(placed) for shard in range(count)])
    return list(zip(*found, strict=True))


def apply(
    settings: Settings,
    tables: Mapping[str, ClickHouseTable],
    plan: GrowthPlan,
    check: Callable[[], None],
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """D2 to D4. ``check`` runs before each server and raises where another process does the same.
    False: the map was in force everywhere already.

    Raises `RefusedBySafety` when the servers record another map in its place, and
    `DependencyUnreachable` when a server does not answer: then run it again.
    """
    known = shard_maps.told(settings)
    wanted = RecordedMap(plan.record, in_force=False)
    _refuse_other_place(known, plan)
    if plan.record.version < known.maps[-1].record.version:
        return False  # its views would leave out the later shards; no map follows one not in force
    before = known.maps[: plan.record.version - 1]
    extended = KnownMaps((*before, wanted), plan.record.urls, recorded=True)
    everyone = servers(settings, tables, extended)
    try:
        # The new ones first: the views of the others read them.
        for server in sorted(everyone, key=lambda one: -one.shard):
            check()
            server.migrator.apply()
        states = [_state(server, plan) for server in everyone]
        if all(states):
            return False
        if not any(states):
            say(f"announced to {len(everyone)} servers; readers take it within {READERS_S:g} s")
            sleep(READERS_S)
        for server in everyone:
            check()
            server.replica.command(map_record.WRITE, plan.record.parameters(in_force=True))
    except ShardUnavailable as error:
        raise DependencyUnreachable(
            f"{error} Nothing is lost: run `dia shards apply` with this plan again."
        ) from error
    finally:
        for server in everyone:
            server.replica.close()
    say(f"map {plan.record.version} is in force: {plan.record.day}")
    return True


def withdraw(
    settings: Settings,
    tables: Mapping[str, ClickHouseTable],
    check: Callable[[], None],
    say: Callable[[str], None],
) -> MapRecord:
    """W1, W2: take back the newest map while it is only announced. Returns it. ``check`` as in
    `apply`.

    Raises `RefusedBySafety` when no map is announced, or a server says that it is in force, and
    `DependencyUnreachable` when a server does not answer: then run it again.
    """
    known = shard_maps.told(settings)
    newest = known.maps[-1]
    if newest.in_force:
        raise RefusedBySafety(
            f"map {newest.record.version} is in force, and none is announced. A map in force cannot be "
            "taken back: partitions may have placed windows by it."
        )
    record, before = newest.record, known.maps[:-1]
    kept = KnownMaps(before, known.urls[: before[-1].record.shards], recorded=True)
    # The first server is asked first, so it forgets last: a command that died is run again.
    everyone = sorted(servers(settings, tables, known), key=lambda one: -one.shard)
    staying = servers(settings, tables, kept)
    try:
        for server in everyone:
            _refuse_in_force(server, record)
        for server in staying:  # W1
            check()
            server.migrator.apply()
        for server in everyone:  # W2
            check()
            server.replica.command(map_record.WITHDRAW, {"version": record.version})
    except ShardUnavailable as error:
        raise DependencyUnreachable(
            f"{error} Nothing is lost: run `dia shards withdraw` again."
        ) from error
    finally:
        for server in (*everyone, *staying):
            server.replica.close()
    say(f"map {record.version} is withdrawn from {len(everyone)} servers")
    return record


def _refuse_in_force(server: Server, record: MapRecord) -> None:
    for one in map_record.read(server.replica.query(map_record.READ)[1]):
        if one.in_force and one.record.version == record.version:
            raise RefusedBySafety(
                f"{server.replica.url} says that map {record.version} is in force: an order to put it in "
                "force broke off. `dia shards apply` with its plan finishes it."
            )


def _refuse_other_place(known: KnownMaps, plan: GrowthPlan) -> None:
    version, digest = plan.record.version, plan.record.identity.digest
    there = {one.record.version: one.record for one in known.maps}
    same = there.get(version)
    if same is not None and same != plan.record:
        raise RefusedBySafety(
            f"the servers record {same.identity.description} from {same.day} as map "
            f"{version}: plan again."
        )
    last = there.get(version - 1)
    if last is None or last.identity.digest != plan.after:
        raise RefusedBySafety(
            f"the plan [{digest}] follows map [{plan.after}], which is not the servers' map "
            f"{version - 1}: plan again."
        )


def _state(server: Server, plan: GrowthPlan) -> bool:
    """Whether the server has the map in force. Raises `RefusedBySafety` when it records another
    one meanwhile."""
    rows = server.replica.query(map_record.READ)[1]
    found = [(msgspec.json.decode(text, type=MapRecord), bool(in_force)) for text, in_force in rows]
    mine = [one for one in found if one[0].version == plan.record.version]
    if not mine or any(record != plan.record for record, _ in mine):
        raise RefusedBySafety(
            f"{server.replica.url} records another map {plan.record.version} than the plan. It is not in "
            "force: remove the wrong one with ALTER TABLE shard_maps_local DELETE, and apply again."
        )
    return any(in_force for _, in_force in mine)
