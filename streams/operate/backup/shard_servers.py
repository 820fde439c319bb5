"""The ClickHouse servers that a backup reads, and those that a restore fills."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from streams.connect.sinks import schema, shard_maps
from streams.connect.sinks.backups.clickhouse import ClickHouseBackups
from streams.connect.sinks.clickhouse import shard_replicas
from streams.connect.sinks.map_record import RecordedMap
from streams.connect.sinks.replica import UNKNOWN_TABLE, Replica, StatementRefused
from streams.connect.sinks.replica_group import READ_DELAY_MAX_S
from streams.connect.sinks.shard_maps import KnownMaps
from streams.core.command_errors import BackupFailed
from streams.core.errors import DependencyUnreachable, RefusedBySafety, ShardUnavailable
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.settings import Settings
from streams.operate.backup.manifest import BackupManifest


def patient(settings: Settings) -> Settings:
    """Digests of large tables take longer than an insert may."""
    return replace(settings, sink_timeout_s=settings.backup_timeout_s)


def backing_up(settings: Settings) -> Settings:
    """With the login of DIA_BACKUP_USER, where it is set."""
    if not settings.backup_user:
        return patient(settings)
    return replace(
        patient(settings),
        clickhouse_user=settings.backup_user,
        clickhouse_password_file=settings.backup_password_file,
    )


def reading_servers(
    settings: Settings, known: KnownMaps, check: Callable[[], None]
) -> list[ClickHouseBackups]:
    """One of each shard: the first that answers, and is not behind. Raises
    `DependencyUnreachable`, and `RefusedBySafety` for a server without a claim."""
    groups = shard_replicas(settings, known)
    return [backup_server(settings, _first(group), check) for group in groups]


def _first(group: Sequence[Replica]) -> Replica:
    failures = []
    for replica in group:
        try:
            delay_s = replica.delay_s() if len(group) > 1 else 0.0
            if len(group) == 1:
                replica.command("SELECT 1")
        except ShardUnavailable as error:
            failures.append(str(error))
            continue
        except StatementRefused as error:
            if error.code not in UNKNOWN_TABLE:
                raise BackupFailed(f"{replica.url} refuses a statement: {error}") from error
            delay_s = 0.0  # without the database it has no claim
        if not replica.confirmed:
            raise RefusedBySafety(
                f"{replica.url} does not say which shard it holds: a restore into it has not ended, or it "
                "is not migrated. `dia backup restore` or `dia migrate apply` ends that."
            )
        if delay_s <= READ_DELAY_MAX_S:
            return replica
        failures.append(f"{replica.url} is {delay_s:.0f} s behind.")
    raise DependencyUnreachable(" ".join(failures))


def backup_server(
    settings: Settings, replica: Replica, check: Callable[[], None]
) -> ClickHouseBackups:
    return ClickHouseBackups(
        replica,
        settings.clickhouse_database,
        timeout_s=settings.backup_timeout_s,
        check=check,
        replicated=bool(settings.clickhouse_cluster),
    )


def maps_of(settings: Settings, manifest: BackupManifest) -> KnownMaps:
    """The maps with which a backup is restored: those of the servers that still record some, which
    have to agree with the backup's; else the backup's. Raises `RefusedBySafety` and
    `ShardMapChanged`."""
    theirs = manifest.recorded_maps
    known = shard_maps.told(settings)
    if not known.recorded:
        return shard_maps.known(settings, theirs)
    here = [one.record.identity.digest for one in known.maps]
    there = [one.digest for one in manifest.maps]
    moved = _moved(known.maps) != _moved(theirs)
    if here[: len(there)] != there[: len(here)] or moved:
        raise RefusedBySafety(
            f"the servers record the shard maps {', '.join(here)}, and backup {manifest.name} has "
            f"{', '.join(there)}: its rows belong to other shards."
        )
    longer = list(known.maps) if len(here) >= len(there) else theirs
    return shard_maps.known(settings, longer)


def _moved(maps: Sequence[RecordedMap]) -> dict[int, list[int]]:
    """The moved days of each move, by its version."""
    return {one.record.version: one.shown for one in maps if one.shown}


@dataclass(frozen=True, slots=True)
class ShardPreparation:
    """`Preparation` of the replicas of one shard. ``tables``: ``_local`` names in the backup."""

    servers: Sequence[schema.Server]
    database: str
    tables: Sequence[str]

    def prepare(self) -> None:
        for server in self.servers:
            server.migrator.prepare()
            self._expiry(server, "STOP")

    def open(self) -> None:
        for server in self.servers:
            self._expiry(server, "START")
            server.migrator.open()

    def _expiry(self, server: schema.Server, word: str) -> None:
        for table in self.tables:
            server.replica.command(f"SYSTEM {word} TTL MERGES {self.database}.{table}")


@dataclass(frozen=True, slots=True)
class FilledShard:
    """What a restore needs of one shard. Close it after use."""

    server: ClickHouseBackups
    preparation: ShardPreparation
    checksums: Mapping[str, str]

    def close(self) -> None:
        for server in self.preparation.servers:
            server.replica.close()


def filled_shards(
    settings: Settings,
    tables: Mapping[str, ClickHouseTable],
    manifest: BackupManifest,
    known: KnownMaps,
    check: Callable[[], None],
) -> list[FilledShard]:
    """Of every shard of the backup, in order."""
    found = schema.servers(settings, tables, known)
    shards = []
    for part in manifest.parts:
        servers = [server for server in found if server.shard == part.shard]
        names = [table.form.name for table in part.tables]
        preparation = ShardPreparation(servers, settings.clickhouse_database, names)
        server = backup_server(settings, servers[0].replica, check)
        shards.append(FilledShard(server, preparation, servers[0].migrator.checksums()))
    return shards
