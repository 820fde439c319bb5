"""Deletes backups that are no longer needed, and what incomplete ones left.

A manifest is deleted before its parts: killed between the two, it leaves an incomplete backup, which
the next run deletes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from streams.operate.backup.catalog import catalog
from streams.operate.backup.destination import BackupDestination
from streams.operate.backup.retention import Retention


def prune(
    destination: BackupDestination,
    retention: Retention,
    now_ms: int,
    check: Callable[[], None],
    *,
    dry: bool = False,
) -> list[str]:
    """The names of the deleted ones. Raises `DependencyUnreachable`."""
    gone = retention.expired(catalog(destination), now_ms)
    for one in gone if not dry else ():
        check()
        if one.manifest is not None:
            destination.withdraw(one.name)
        with suppress(FileNotFoundError):
            destination.delete_parts(one.name)
    return [one.name for one in gone]
