"""`BackupServer` of a real server: ClickHouse's own BACKUP and RESTORE.

The statements run on the server in the background, and `system.backups` says how they stand: a
proxy or a client that loses its connection does not end them. The server forgets its operations when it
restarts; an operation that is unknown there has failed.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

from streams.connect.sinks.backups.server import LedgerOffset, RestoreNote, StoredSize
from streams.connect.sinks.backups.stored_table import Digests, RowDigest, StoredTable
from streams.connect.sinks.replica import UNKNOWN_TABLE, Replica, StatementRefused
from streams.connect.sinks.table_owners import OWNER_LABEL
from streams.core.command_errors import BackupFailed
from streams.core.rows.clickhouse_table import quoted

POLL_S: Final = 0.2
_RESTORES: Final = "restores_local"
_TABLES = """
SELECT name, sorting_key, partition_key FROM system.tables
WHERE database = {database:String} AND name LIKE '%\\_local' AND engine LIKE '%MergeTree'
ORDER BY name
"""
_COLUMNS = """
SELECT table, name, type FROM system.columns WHERE database = {database:String}
ORDER BY table, position
"""
_DIGESTS = """
SELECT {bucket} AS bucket, count(), {events}, toString(sum(toUInt128(ver))),
    toString(groupBitXor(cityHash64(tuple({columns}))))
FROM {database}.{table} FINAL GROUP BY bucket
"""
_LEDGER = "SELECT grp, topic, part, epoch, next_offset FROM {database}.ledger_local FINAL"
_DISPOSITIONS = (
    "SELECT disposition, count() FROM {database}.dead_letters_local FINAL GROUP BY disposition"
)
_OPERATION = """
SELECT toString(status), error, num_files, total_size, compressed_size FROM system.backups
WHERE id = {id:String}
"""
_RESTORES_TABLE = """
CREATE TABLE IF NOT EXISTS {table}
(backup String, ended UInt8, at DateTime64(3, 'UTC') DEFAULT now64(3))
ENGINE = ReplacingMergeTree(at) ORDER BY backup SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
"""


class ClickHouseBackups:
    """Raises `BackupFailed` when the server refuses a statement, or an operation takes longer than
    ``timeout_s``. ``check`` runs between looks at an operation, and may raise."""

    def __init__(
        self,
        replica: Replica,
        database: str,
        *,
        timeout_s: float,
        check: Callable[[], None],
        replicated: bool = False,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._replica = replica
        self._database = database
        self._timeout_s = timeout_s
        self._check = check
        self._replicated = replicated
        self._sleep = sleep
        self._monotonic = monotonic

    @property
    def url(self) -> str:
        return self._replica.url

    def version(self) -> str:
        return str(self._rows("SELECT version()")[0][0])

    def tables(self) -> list[StoredTable]:
        try:
            self._replica.command("SELECT 1")
        except StatementRefused as error:
            if error.code in UNKNOWN_TABLE:
                return []  # without the database no connection to it opens
            raise self._refused(error) from error
        columns: dict[str, dict[str, str]] = {}
        for table, name, kind in self._rows(_COLUMNS, database=self._database):
            columns.setdefault(table, {})[name] = kind
        return [
            StoredTable(
                name=name,
                columns=columns.get(name, {}),
                sorting_key=sorting_key,
                partition_key=partition_key,
            )
            for name, sorting_key, partition_key in self._rows(_TABLES, database=self._database)
            if name != _RESTORES
        ]

    def migrations(self) -> dict[str, str]:
        sql = f"SELECT label, checksum FROM {self._database}.migrations_local FINAL"  # noqa: S608 - our own name
        return {
            str(label): str(checksum)
            for label, checksum in self._rows(sql)
            if not str(label).startswith(OWNER_LABEL)
        }

    def ledger(self) -> list[LedgerOffset]:
        return [
            LedgerOffset(
                group=str(group),
                topic=str(topic),
                partition=int(part),
                epoch=int(epoch),
                next_offset=int(offset),
            )
            for group, topic, part, epoch, offset in self._rows(
                _LEDGER.format(database=self._database)
            )
        ]

    def dispositions(self) -> dict[str, int]:
        rows = self._rows(_DISPOSITIONS.format(database=self._database))
        return {str(disposition): int(count) for disposition, count in rows}

    def digests(self, table: StoredTable, database: str = "") -> Digests:
        sql = _DIGESTS.format(
            bucket=table.bucket,
            events="sum(n)" if table.rolls_up else "0",
            columns=", ".join(f"`{name}`" for name in table.columns),
            database=database or self._database,
            table=table.name,
        )
        return {
            int(bucket): RowDigest(
                rows=int(rows), events=int(events), versions=versions, hash=hashed
            )
            for bucket, rows, events, versions, hashed in self._rows(sql)
        }

    def settle(self, tables: Sequence[str]) -> None:
        if self._replicated:
            for table in tables:
                self._command(f"SYSTEM SYNC REPLICA {self._database}.{table}")

    def back_up(self, tables: Sequence[str], target: str, base: str | None) -> StoredSize:
        listed = ", ".join(f"TABLE {self._database}.{table}" for table in tables)
        extra = f", base_backup = {base}" if base else ""
        return self._run(f"BACKUP {listed} TO {target}", extra)

    def restore(self, table: str, source: str, database: str = "") -> None:
        # The table is made before: by this build's migrations, or for a scratch database.
        self._run(
            f"RESTORE TABLE {self._database}.{table} AS {database or self._database}.{table} "
            f"FROM {source}",
            ", create_table = 0, allow_different_table_def = 1, allow_non_empty_tables = 1",
        )

    def make_scratch(self, database: str, tables: Sequence[StoredTable]) -> None:
        self.drop_scratch(database)
        self._command(f"CREATE DATABASE {database}")
        for table in tables:
            columns = ", ".join(f"`{name}` {kind}" for name, kind in table.columns.items())
            partition = f"PARTITION BY {table.partition_key} " if table.partition_key else ""
            self._command(
                f"CREATE TABLE {database}.{table.name} ({columns}) ENGINE = ReplacingMergeTree(ver) "
                f"{partition}ORDER BY ({table.sorting_key})"
            )

    def drop_scratch(self, database: str) -> None:
        self._command(f"DROP DATABASE IF EXISTS {database} SYNC")

    def noted(self) -> RestoreNote | None:
        sql = (
            f"SELECT backup, ended FROM {self._database}.{_RESTORES} FINAL "  # noqa: S608 - our own name
            "ORDER BY at DESC LIMIT 1"
        )
        try:
            rows = self._replica.query(sql)[1]
        except StatementRefused as error:
            if error.code in UNKNOWN_TABLE:
                return None
            raise self._refused(error) from error
        return RestoreNote(str(rows[0][0]), bool(rows[0][1])) if rows else None

    def note(self, backup: str, *, ended: bool) -> None:
        table = f"{self._database}.{_RESTORES}"
        self._command(_RESTORES_TABLE.format(table=table))
        self._command(
            f"INSERT INTO {table} (backup, ended, at) SELECT {quoted(backup)}, {int(ended)}, "  # noqa: S608 - our own name
            f"greatest(now64(3), max(at) + INTERVAL 1 MILLISECOND) FROM {table}"
        )

    def close(self) -> None:
        self._replica.close()

    def _run(self, statement: str, extra: str) -> StoredSize:
        operation = str(uuid.uuid4())
        deadline_s = self._monotonic() + self._timeout_s
        self._command(f"{statement} SETTINGS id = '{operation}'{extra} ASYNC")
        while True:
            rows = self._rows(_OPERATION, id=operation)
            if not rows:
                raise BackupFailed(
                    f"{self.url} does not know the operation it began: it was started again. Run the "
                    "command again."
                )
            status, why, files, size, own = rows[0]
            if status in {"BACKUP_CREATED", "RESTORED"}:
                return StoredSize(files=int(files), bytes=int(size), own_bytes=int(own))
            if status not in {"CREATING_BACKUP", "RESTORING"}:
                raise BackupFailed(f"{self.url} did not finish: {status}, {_first_line(why)}")
            self._check()
            if self._monotonic() >= deadline_s:
                raise BackupFailed(
                    f"{self.url} took longer than {self._timeout_s:g} s (DIA_BACKUP_TIMEOUT_S). The "
                    "server goes on by itself; what it writes is not part of any backup."
                )
            self._sleep(POLL_S)

    def _rows(self, sql: str, **parameters: Any) -> Sequence[Sequence[Any]]:
        try:
            return self._replica.query(sql, parameters)[1]
        except StatementRefused as error:
            raise self._refused(error) from error

    def _command(self, sql: str) -> None:
        try:
            self._replica.command(sql)
        except StatementRefused as error:
            raise self._refused(error) from error

    def _refused(self, error: StatementRefused) -> BackupFailed:
        return BackupFailed(
            f"{self.url} refuses a statement: {_first_line(str(error))} docs/protocols/backup.md names "
            "what a server has to allow."
        )


def _first_line(text: str) -> str:
    """Without the server's stack trace."""
    return text.partition(", Stack trace")[0].partition("\n")[0][:600]
