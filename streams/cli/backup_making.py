"""What the commands of `dia backup` build from settings: servers, destination, locks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.cli.invocation import Invocation
    from streams.connect.sinks.backups.clickhouse import ClickHouseBackups
    from streams.connect.sinks.shard_maps import KnownMaps
    from streams.core.settings import Settings
    from streams.operate.backup.destination import BackupDestination
    from streams.operate.backup.manifest import BackupManifest, ManifestMap


async def make(
    run: Invocation, *, full: bool, if_due: bool
) -> tuple[BackupManifest | None, int | None]:
    """The backup; None if none is due. And when the newest whole one began, but for those from the future.
    Raises as `BackupMaking.make`."""
    from streams.connect.coordination.exclusive import exclusively
    from streams.connect.sinks import shard_maps
    from streams.core.clock import SystemClock
    from streams.operate.backup.catalog import catalog, newest
    from streams.operate.backup.create import BackupMaking
    from streams.operate.backup.described import described, described_maps
    from streams.operate.backup.destination import BackupDestination
    from streams.operate.backup.retention import Retention
    from streams.operate.backup.shard_servers import backing_up

    destination, retention = BackupDestination.of(run.settings), Retention.of(run.settings)
    clock = SystemClock()

    def work(check: Callable[[], None]) -> BackupManifest | None:
        if if_due and not retention.due(catalog(destination), clock.now_ms()):
            return None
        with ExitStack() as opened:
            servers, known = served(backing_up(run.settings), check, opened)

            def maps() -> Sequence[ManifestMap]:
                return described_maps(shard_maps.told(run.settings))

            making = BackupMaking(destination, servers, clock, check, run.printer().say, maps)
            return making.make(described(run.settings, run.app, known), retention, full=full)

    made = await exclusively(run.settings, "backup", work)
    now_ms = clock.now_ms()
    last = newest(catalog(destination), now_ms)
    return made, last.begun_ms if last is not None and last.begun_ms <= now_ms else None


def served(
    settings: Settings, check: Callable[[], None], opened: ExitStack
) -> tuple[Sequence[ClickHouseBackups], KnownMaps]:
    """One server of each shard. Raises `DependencyUnreachable`."""
    from streams.connect.sinks import shard_maps
    from streams.connect.sinks.clickhouse import require_shards
    from streams.core.errors import DependencyUnreachable, ShardUnavailable
    from streams.operate.backup.shard_servers import reading_servers

    require_shards(settings)
    try:
        known = shard_maps.told(settings)
    except ShardUnavailable as error:
        raise DependencyUnreachable(str(error)) from error
    servers = reading_servers(settings, known, check)
    for server in servers:
        opened.callback(server.close)
    return servers, known


def chain_of(run: Invocation, name: str) -> tuple[BackupDestination, list[BackupManifest]]:
    """The backup and those that it builds on. Raises `NotFoundThere` and `RefusedBySafety`."""
    from streams.core.clock import SystemClock
    from streams.operate.backup.catalog import catalog, chain
    from streams.operate.backup.destination import BackupDestination

    destination = BackupDestination.of(run.settings)
    return destination, chain(catalog(destination), name, SystemClock().now_ms())


def fill(
    run: Invocation,
    destination: BackupDestination,
    manifest: BackupManifest,
    wanted: Sequence[int] | None,
    check: Callable[[], None],
    say: Callable[[str], None],
    *,
    beside: bool,
) -> int:
    """Restore the ``wanted`` shards, None: all, one after another. Returns their rows. Raises as
    `ShardRestore.run`."""
    from streams.connect.sinks.clickhouse import require_shards
    from streams.core.errors import (
        DependencyUnreachable,
        RefusedBySafety,
        ShardUnavailable,
        UsageError,
    )
    from streams.operate.backup.restore import ShardRestore, refuse_newer
    from streams.operate.backup.shard_servers import filled_shards, maps_of, patient

    require_shards(run.settings)
    settings = patient(run.settings)
    if manifest.database != settings.clickhouse_database:
        raise RefusedBySafety(
            f"the backup is of database {manifest.database}, and DIA_CLICKHOUSE_DATABASE is "
            f"{settings.clickhouse_database}."
        )
    unknown = set(wanted or ()) - {part.shard for part in manifest.parts}
    if unknown:
        raise UsageError(f"backup {manifest.name} has no shard {min(unknown)}.")
    rows = 0
    try:
        known = maps_of(settings, manifest)
        shards = filled_shards(settings, run.app.clickhouse_tables, manifest, known, check)
        for part, shard in zip(manifest.parts, shards, strict=True):
            refuse_newer(manifest, shard.checksums)
            if wanted is None or part.shard in wanted:
                step = ShardRestore(
                    destination,
                    manifest,
                    part,
                    shard.server,
                    shard.preparation,
                    check,
                    say,
                    beside=beside,
                )
                rows += step.run()
            shard.close()
    except ShardUnavailable as error:
        raise DependencyUnreachable(
            f"{error} Nothing is lost: run `dia backup restore` again."
        ) from error
    return rows
