"""Copies the rows of one table between two servers."""

from __future__ import annotations

from streams.connect.sinks.backups.stored_table import StoredTable
from streams.connect.sinks.replica import Replica, RowsUnfit, StatementRefused
from streams.core.command_errors import BackupFailed


def copy_table(
    form: StoredTable, source: Replica, database: str, target: Replica, scratch: str
) -> None:
    """The rows that FINAL shows in ``database`` of ``source``, at least one, into the table of that name in
    ``scratch`` of ``target``, through this process, which holds a piece at a time.

    Raises `BackupFailed` where a server refuses, `ShardUnavailable` and `ShardBusy`."""
    columns = ", ".join(f"`{name}`" for name in form.columns)
    sql = f"SELECT {columns} FROM {database}.{form.name} FINAL"  # noqa: S608 - our own names
    try:
        target.take(f"{scratch}.{form.name}", list(form.columns), source, sql)
    except (StatementRefused, RowsUnfit) as error:
        raise BackupFailed(
            f"the rows of {form.name} do not go from {source.url} to {target.url}: {error}"
        ) from error
