"""Plans a move of stored days, and a map without a shard (docs/protocols/shard_moves.md)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

from streams.connect.sinks.map_record import MapRecord, day_of
from streams.connect.sinks.shard_maps import KnownMaps
from streams.connect.sinks.sharding import ShardMap, WholeStrategy, WithoutShards
from streams.core.command_errors import MoveRefused
from streams.core.errors import RefusedBySafety, UsageError
from streams.core.settings import Settings
from streams.operate.shards.growth import GrowthPlan, last_in_force, tomorrow
from streams.operate.shards.mover import expiring

OVER_DAYS: Final = 2
"""A day that moves ended at least a day ago."""


def planned_move(
    settings: Settings, known: KnownMaps, first: date, last: date, drained: Sequence[int] = ()
) -> GrowthPlan:
    """Windows of the UTC days ``first`` to ``last`` go where the newest map puts them; those that it
    puts on a ``drained`` shard go to the others.

    Raises `UsageError`, `MoveRefused` and `RefusedBySafety`."""
    before = last_in_force(known)
    today = datetime.now(UTC).date()
    if first > last:
        raise UsageError("--days: the first day is after the last one.")
    if last > today - timedelta(days=OVER_DAYS):
        raise UsageError(
            f"--days: {last} is not long over. {today - timedelta(days=OVER_DAYS)} (UTC) is the last "
            "day that can move."
        )
    if settings.clickhouse_cluster:
        raise MoveRefused("days move between shards of one server each, not within a cluster.")
    _refuse_expiring(settings, first, last, today)
    _refuse_unfinished(known)
    shard_map = _without(known.newest.record.shard_map, drained) if drained else None
    record = MapRecord.of(
        shard_map or known.newest.record.shard_map,
        known.urls,
        version=before.record.version + 1,
        first_day=day_of(first),
        last_day=day_of(last),
    )
    return GrowthPlan(after=before.record.identity.digest, record=record)


def planned_removal(known: KnownMaps, shard: int, first: date) -> GrowthPlan:
    """A map that puts no windows of the days from ``first`` on on the shard. Raises as
    `planned_move`."""
    before = last_in_force(known)
    if first < tomorrow():
        raise UsageError(f"--from {first} has begun: the first day is {tomorrow()} (UTC) at least.")
    record = MapRecord.of(
        _without(known.newest.record.shard_map, [shard]),
        known.urls,
        version=before.record.version + 1,
        first_day=max(day_of(first), known.newest.record.first_day),
    )
    return GrowthPlan(after=before.record.identity.digest, record=record)


def _without(before: ShardMap, drained: Sequence[int]) -> ShardMap:
    now = before.strategy
    inner, away = (now.inner, now.away) if isinstance(now, WithoutShards) else (now, ())
    assert isinstance(inner, WholeStrategy), "a strategy is one of four"
    left_out = tuple(sorted({*away, *drained}))
    if not all(0 <= shard < before.shards for shard in left_out):
        raise UsageError(f"there are shards 0 to {before.shards - 1}.")
    if len(left_out) == before.shards:
        raise RefusedBySafety("no shard is left for the windows.")
    return ShardMap(before.shards, WithoutShards(before.shards, inner, left_out), before.version)


def _refuse_expiring(settings: Settings, first: date, last: date, today: date) -> None:
    for age in expiring(settings.m1_retention_days):
        day = today - timedelta(days=age)
        if first <= day <= last:
            raise MoveRefused(
                f"minutes of {day} may be expiring (DIA_M1_RETENTION_DAYS="
                f"{settings.m1_retention_days}): leave out the days around it, or wait."
            )


def _refuse_unfinished(known: KnownMaps) -> None:
    for one in known.moves:
        if one.unfinished:
            raise MoveRefused(
                f"map {one.record.version} moves {one.record.day}, and has not finished: `dia shards "
                f"move {one.record.version}`, or `dia shards cancel {one.record.version}`."
            )
