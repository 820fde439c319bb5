"""`dia drill replica`: one replica of a shard is lost, on a copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from streams.cli.invocation import Invocation

if TYPE_CHECKING:
    from streams.connect.sinks.backups.clickhouse import ClickHouseBackups
    from streams.connect.sinks.replica import Replica
    from streams.connect.sinks.shard_maps import KnownMaps
    from streams.core.settings import Settings
    from streams.operate.drill.record import DrillRecord


class _Standing(NamedTuple):
    """A replica that answers, and so many seconds is behind."""

    replica: Replica
    behind_s: float


def lose_replica(
    run: Invocation, shard: int | None, number: int | None, check: Callable[[], None]
) -> DrillRecord:
    """``number``: of the replica, in the order of DIA_CLICKHOUSE_SHARDS; None: the last one."""
    from streams.connect.sinks import shard_maps
    from streams.connect.sinks.clickhouse import require_shards, shard_replicas
    from streams.core.errors import DependencyUnreachable, ShardUnavailable
    from streams.operate.backup.destination import BackupDestination
    from streams.operate.backup.shard_servers import patient
    from streams.operate.drill.record import keep, kept

    require_shards(run.settings)
    destination = BackupDestination.of(run.settings)
    destination.check()
    settings = patient(run.settings)
    try:
        known = shard_maps.told(settings)
    except ShardUnavailable as error:
        raise DependencyUnreachable(str(error)) from error
    chosen = _shard(known, shard, kept(destination))
    with ExitStack() as opened:
        group = shard_replicas(settings, known)[chosen]
        for one in group:
            opened.callback(one.close)
        record = _drilled(run, settings, chosen, group, number, check)
    keep(destination, record)
    return record


def _shard(known: KnownMaps, shard: int | None, records: Sequence[DrillRecord]) -> int:
    """Raises `UsageError`, and `RefusedBySafety` where one replica has all rows."""
    from streams.core.clock import SystemClock
    from streams.core.errors import RefusedBySafety, UsageError
    from streams.operate.drill.record import next_shard

    several = [number for number, urls in enumerate(known.urls) if len(urls) > 1]
    if shard is None and several:
        return next_shard(records, several, SystemClock().now_ms(), "replica")
    if shard is not None and shard >= len(known.urls):
        raise UsageError(f"there are shards 0 to {len(known.urls) - 1}.")
    if shard is None or shard not in several:
        which = "no shard has" if shard is None else f"shard {shard} has not"
        raise RefusedBySafety(
            f"{which} a second replica, which a lost one could be copied from. `dia drill shard` practises "
            "the loss of a shard."
        )
    return shard


def _drilled(
    run: Invocation,
    settings: Settings,
    shard: int,
    group: Sequence[Replica],
    number: int | None,
    check: Callable[[], None],
) -> DrillRecord:
    from streams.connect.sinks.backups.table_copy import copy_table
    from streams.core.clock import SystemClock
    from streams.core.errors import UsageError
    from streams.operate.backup.described import kept_days
    from streams.operate.backup.shard_servers import backup_server
    from streams.operate.backup.verify import scratch_of
    from streams.operate.drill.replica_drill import ReplicaDrill

    chosen = len(group) - 1 if number is None else number
    if not 0 <= chosen < len(group):
        raise UsageError(f"shard {shard} has replicas 0 to {len(group) - 1}.")
    gone, others = group[chosen], _standing([*group[:chosen], *group[chosen + 1 :]])
    source, database = others[0].replica, settings.clickhouse_database
    scratch = scratch_of(database)

    def server(replica: Replica) -> ClickHouseBackups:
        return backup_server(settings, replica, check)

    return ReplicaDrill(
        shard=shard,
        gone=server(gone),
        others=[server(one.replica) for one in others],
        behind_s=others[0].behind_s,
        copy=lambda form: copy_table(form, source, database, gone, scratch),
        kept_days=kept_days(run.app, settings),
        scratch=scratch,
        clock=SystemClock(),
        check=check,
        say=run.printer().say,
    ).run()


def _standing(others: Sequence[Replica]) -> list[_Standing]:
    """Those that answer, the one that is least behind first. Raises `DependencyUnreachable` without one."""
    from streams.core.errors import DependencyUnreachable, ShardUnavailable

    found, silent = [], []
    for one in others:
        try:
            found.append(_Standing(one, one.delay_s()))
        except ShardUnavailable as error:
            silent.append(str(error))
    if not found:
        raise DependencyUnreachable(" ".join(silent))
    return sorted(found, key=lambda one: one.behind_s)
