"""Restores a backup into a scratch database, and compares what is there with the manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from streams.connect.sinks.backups.server import BackupServer
from streams.core.command_errors import BackupFailed
from streams.operate.backup.comparison import TableDifference, differences
from streams.operate.backup.destination import BackupDestination
from streams.operate.backup.manifest import BackupManifest, ShardPart

SCRATCH = "_backup_check"


def scratch_of(database: str) -> str:
    return f"{database}{SCRATCH}"


def verify(
    destination: BackupDestination,
    manifest: BackupManifest,
    servers: Sequence[BackupServer],
    check: Callable[[], None],
) -> list[TableDifference]:
    """``servers``: one for each part, where the scratch database is made and dropped. Raises
    `BackupFailed`."""

    def one(part: ShardPart, server: BackupServer) -> list[TableDifference]:
        scratch = scratch_of(manifest.database)
        found: list[TableDifference] = []
        server.make_scratch(scratch, [table.form for table in part.tables])
        try:
            for table in part.tables:
                check()
                source = destination.place(manifest.name, part.shard)
                server.restore(table.form.name, source, scratch)
                found += differences(part.shard, table, server.digests(table.form, scratch))
        finally:
            server.drop_scratch(scratch)
        return found

    if len(servers) < len(manifest.parts):
        raise BackupFailed(
            f"backup {manifest.name} has {len(manifest.parts)} shards, and {len(servers)} servers are "
            "known: each shard is restored on the server of its number."
        )
    with ThreadPoolExecutor(len(manifest.parts), thread_name_prefix="verify") as threads:
        asked = [threads.submit(one, part, servers[part.shard]) for part in manifest.parts]
        return [difference for answer in asked for difference in answer.result()]
