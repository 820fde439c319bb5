"""`dia drill`: procedures after a loss, run on a copy and measured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import Invocation, invocation
from streams.cli.region_drill import region
from streams.cli.replica_drill import lose_replica
from streams.cli.watchable import watchable

if TYPE_CHECKING:
    from streams.connect.sinks.replica import Replica
    from streams.operate.backup.manifest import BackupManifest
    from streams.operate.drill.record import DrillRecord
    from streams.operate.rebuild.rebuild import RebuildReport

Name = Annotated[
    str, typer.Argument(metavar="[NAME]", help="As `dia backup list`; default: the newest whole.")
]
_LOCK = "backup"
_COLUMNS = (
    *("drill", "begun", "backup", "rows", "restore_s", "rebuild_s", "rto_s", "s_per_million_rows"),
    *("rpo_s", "lost"),
)
_DETAIL = ("backup", "restore_s", "rebuild_s", "s_per_million_rows", "lost")


def register(app: typer.Typer) -> None:
    group = command_group("Procedures after a loss, run on a copy and measured.")
    group.command("shard")(shard)
    group.command("backup")(backup)
    group.command("region")(region)
    group.command("replica")(replica)
    group.command("list")(show)
    app.add_typer(group, name="drill")


def shard(
    ctx: typer.Context,
    name: Name = "",
    *,
    number: Annotated[
        int | None,
        typer.Option("--shard", metavar="N", help="Default: that of the oldest good drill."),
    ] = None,
    if_due: Annotated[
        bool, typer.Option("--if-due", help="Only when the newest is DIA_DRILL_INTERVAL_S old.")
    ] = False,
) -> None:
    """Lose a shard on a copy: restore its backup, rebuild the rest from the log, and compare the
    windows with those of the shard.

    The copy is a scratch database of the shard's server, which needs room for its rows. No row of
    the shard changes. A good drill is kept as a record. Exit code 1 when windows differ, 5 when the
    log does not say for certain what the rows were.

    Example: dia drill shard --shard 1
    """
    run = invocation(ctx)
    if if_due and not _due(run):
        _tell(run, None)
        return
    _tell(run, asyncio.run(_exclusively(run, lambda check: _lose_shard(run, name, number, check))))


def backup(ctx: typer.Context, name: Name = "") -> None:
    """Restore every shard of a backup into a scratch database, compare it with its manifest, and say
    how long that took and how old the rows are.

    Example: dia drill backup
    """
    run = invocation(ctx)
    _tell(run, asyncio.run(_exclusively(run, lambda check: _restore(run, name, check))))


def replica(
    ctx: typer.Context,
    *,
    number: Annotated[
        int | None,
        typer.Option("--shard", metavar="N", help="Default: that of the oldest good drill."),
    ] = None,
    lost: Annotated[
        int | None,
        typer.Option(
            "--replica",
            metavar="N",
            help="From 0, as in DIA_CLICKHOUSE_SHARDS; default: the last one.",
        ),
    ] = None,
) -> None:
    """Lose one replica of a shard on a copy: name the rows that only it has, have a scratch database
    on its server take all rows from another replica, and compare.

    The server needs room for a second copy of its rows; no row of the shard changes. RPO is how far the
    other replica was behind. A good drill is kept as a record. Exit code 1 when the copy differs, 5
    where a shard has one replica.

    Example: dia drill replica --shard 1
    """
    run = invocation(ctx)
    _tell(run, asyncio.run(_exclusively(run, lambda check: lose_replica(run, number, lost, check))))


@watchable
def show(ctx: typer.Context) -> None:
    """List the last good drill of each procedure and shard.

    Example: dia drill list
    """
    from streams.operate.backup.destination import BackupDestination
    from streams.operate.drill.record import kept

    run = invocation(ctx)
    found = kept(BackupDestination.of(run.settings))
    run.printer().rows(_COLUMNS, [_row(one) for one in found], _DETAIL)


def _lose_shard(
    run: Invocation, name: str, number: int | None, check: Callable[[], None]
) -> DrillRecord:
    from streams.cli.backup_making import chain_of
    from streams.core.clock import SystemClock
    from streams.core.errors import UsageError
    from streams.operate.drill.record import keep, kept, next_shard

    destination, manifests = chain_of(run, name)
    manifest, now_ms = manifests[0], SystemClock().now_ms()
    shards = range(len(manifest.parts))
    chosen = next_shard(kept(destination), shards, now_ms) if number is None else number
    if chosen not in shards:
        raise UsageError(f"backup {manifest.name} has no shard {chosen}.")
    record = asyncio.run(_drilled(run, manifest, chosen, check))
    keep(destination, record)
    return record


async def _drilled(
    run: Invocation, manifest: BackupManifest, shard: int, check: Callable[[], None]
) -> DrillRecord:
    from streams.cli.backup_making import served
    from streams.connect.sinks.replica import Replica
    from streams.core.clock import SystemClock
    from streams.operate.audit.snapshot_reader import over_s
    from streams.operate.backup.destination import BackupDestination
    from streams.operate.backup.shard_servers import patient
    from streams.operate.backup.verify import scratch_of
    from streams.operate.drill.copy_comparison import CopyComparison
    from streams.operate.drill.shard_drill import ShardDrill, range_of

    settings, clock = patient(run.settings), SystemClock()
    scratch = scratch_of(settings.clickhouse_database)
    async with AsyncExitStack() as opened:
        servers, _ = served(settings, check, opened.enter_context(ExitStack()))
        server = servers[shard]

        def connected(database: str) -> Replica:
            replica = Replica(
                server.url,
                user=settings.clickhouse_user,
                password=settings.clickhouse_password(),
                database=database,
                timeout_s=settings.sink_timeout_s,
                pool_size=2,
                tls=settings.clickhouse_tls(),
            )
            opened.callback(replica.close)
            return replica

        over = over_s(settings, clock)
        live, copy = connected(settings.clickhouse_database), connected(scratch)

        async def rebuilt() -> RebuildReport:
            bounds = range_of(manifest, clock.now_ms())
            return await _rebuilt_copy(run, shard, copy, bounds, check)

        drill = ShardDrill(
            destination=BackupDestination.of(settings),
            manifest=manifest,
            part=manifest.parts[shard],
            server=server,
            scratch=scratch,
            rebuilt=rebuilt,
            compared=CopyComparison(
                live, settings.clickhouse_database, scratch, over_s=over, since_ms=over * 1000
            ),
            clock=clock,
            check=check,
            say=run.printer().say,
        )
        return await drill.run()


async def _rebuilt_copy(
    run: Invocation,
    shard: int,
    copy: Replica,
    bounds: tuple[int, int],
    check: Callable[[], None],
) -> RebuildReport:
    from streams.cli.rebuild import rebuilding
    from streams.connect.sinks.clickhouse import ClickHouseShards
    from streams.connect.sinks.replica_group import ReplicaGroup
    from streams.core.clock import SystemClock
    from streams.operate.drill.copied_shard import CopiedShard
    from streams.operate.rebuild.rebuild import RebuildOptions

    live = ClickHouseShards.from_settings(
        run.settings, SystemClock(), run.app.topology.targets.tables
    )
    shards = CopiedShard(live, shard, copy)
    options = RebuildOptions(from_s=bounds[0], to_s=bounds[1])
    instead = {shard: ReplicaGroup([copy])}
    return await rebuilding(run, options, check, shards=shards, instead=instead)


def _restore(run: Invocation, name: str, check: Callable[[], None]) -> DrillRecord:
    from streams.cli.backup_making import chain_of, served
    from streams.core.clock import SystemClock
    from streams.core.command_errors import BackupFailed
    from streams.operate.backup.comparison import said
    from streams.operate.backup.shard_servers import patient
    from streams.operate.backup.verify import verify
    from streams.operate.drill.record import DrillRecord, keep

    destination, manifests = chain_of(run, name)
    manifest, clock = manifests[0], SystemClock()
    began_ms, began_s = clock.now_ms(), clock.monotonic()
    with ExitStack() as opened:
        servers, _ = served(patient(run.settings), check, opened)
        found = verify(destination, manifest, servers, check)
    if found:
        raise BackupFailed(
            f"backup {manifest.name} differs from its manifest: {said(found)}. Make a full one: `dia "
            "backup create --full`."
        )
    record = DrillRecord(
        procedure="backup",
        shard=None,
        backup=manifest.name,
        began_ms=began_ms,
        rows=sum(table.rows for part in manifest.parts for table in part.tables),
        restore_s=clock.monotonic() - began_s,
        rebuild_s=0.0,
        rpo_s=(began_ms - manifest.began_ms) / 1000,
        lost={},
    )
    keep(destination, record)
    return record


def _due(run: Invocation) -> bool:
    from streams.core.clock import SystemClock
    from streams.operate.backup.destination import BackupDestination
    from streams.operate.drill.record import kept, newest_ms

    interval_s = run.settings.drill_interval_s
    now_ms = SystemClock().now_ms()
    newest = newest_ms(kept(BackupDestination.of(run.settings)), "shard", now_ms)
    return bool(interval_s) and (newest is None or now_ms - newest >= interval_s * 1000)


def _tell(run: Invocation, record: DrillRecord | None) -> None:
    from streams.core.clock import SystemClock
    from streams.engine.schedule.scheduled_drill import PROCEDURES
    from streams.operate.backup.destination import BackupDestination
    from streams.operate.drill.record import kept, newest_ms

    printer = run.printer()
    if run.json:
        found = kept(BackupDestination.of(run.settings))
        done = dict(zip(_COLUMNS, _row(record), strict=True)) if record is not None else None
        now_ms = SystemClock().now_ms()
        newest = {one: newest_ms(found, one, now_ms) for one in PROCEDURES}
        printer.record({"done": done, "newest_ms": newest})
    elif record is None:
        printer.say("the newest good drill is not old enough for another one.")
    else:
        printer.rows(_COLUMNS, [_row(record)], _DETAIL)
        printer.say(_said(record))


def _said(record: DrillRecord) -> str:
    lost = ", ".join(f"{rows} of {table}" for table, rows in record.lost.items()) or "none"
    if record.procedure == "shard":
        return (
            f"after a loss, rows would be back in {record.rto_s:.0f} s; windows whole as far as the log "
            f"reaches. Facts acknowledged since the backup would be lost: {lost}."
        )
    if record.procedure == "replica":
        return (
            f"after a loss, a new replica would have all rows in {record.rto_s:.0f} s, from one that is "
            f"{record.rpo_s:.0f} s behind. Rows that only the lost one has: {lost}."
        )
    return (
        f"rows would be back in {record.rto_s:.0f} s, as of {record.rpo_s:.0f} s before the drill."
    )


def _row(one: DrillRecord) -> tuple[Any, ...]:
    return (
        one.name,
        datetime.fromtimestamp(one.began_ms / 1000, UTC),
        one.backup,
        one.rows,
        round(one.restore_s, 1),
        round(one.rebuild_s, 1),
        round(one.rto_s, 1),
        round(one.s_per_million_rows, 1),
        round(one.rpo_s, 1),
        ", ".join(f"{table}: {rows}" for table, rows in one.lost.items()),
    )


async def _exclusively(
    run: Invocation, work: Callable[[Callable[[], None]], DrillRecord]
) -> DrillRecord:
    from streams.connect.coordination.exclusive import exclusively

    return await exclusively(run.settings, _LOCK, work)
