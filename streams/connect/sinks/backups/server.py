"""What a backup and a restore need of one ClickHouse server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from streams.connect.sinks.backups.stored_table import Digests, StoredTable


class LedgerOffset(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the ledger: ``next_offset`` is the first source offset after the newest commit whose
    ledger row was stored."""

    group: str
    topic: str
    partition: int
    epoch: int
    next_offset: int


class StoredSize(msgspec.Struct, frozen=True, kw_only=True):
    """Of one part of a backup. ``bytes``: of what the backup shows; ``own_bytes``: of what it
    stores itself, without what is in its base."""

    files: int
    bytes: int
    own_bytes: int


class RestoreNote(NamedTuple):
    """What a server records of the newest restore into it."""

    backup: str
    ended: bool


class BackupServer(Protocol):
    """``target``, ``source``, ``base``: places as ClickHouse writes them, such as ``File('/a/b')``.

    Every call blocks and may raise `ShardUnavailable`; `back_up` and `restore` raise
    `BackupFailed`."""

    @property
    def url(self) -> str: ...

    def version(self) -> str: ...

    def tables(self) -> list[StoredTable]:
        """Every table of the database whose name ends with ``_local``, by name."""
        ...

    def migrations(self) -> dict[str, str]:
        """Label to checksum."""
        ...

    def ledger(self) -> list[LedgerOffset]: ...

    def dispositions(self) -> dict[str, int]:
        """Dead letters by disposition."""
        ...

    def digests(self, table: StoredTable, database: str = "") -> Digests:
        """Over the columns of ``table``; ``database`` "": the server's own."""
        ...

    def settle(self, tables: Sequence[str]) -> None:
        """Have every row of ``tables`` that another replica of this shard acknowledged."""
        ...

    def back_up(self, tables: Sequence[str], target: str, base: str | None) -> StoredSize: ...

    def restore(self, table: str, source: str, database: str = "") -> None:
        """Add the rows of ``table`` in a backup to the table of that name in ``database``, which
        exists. Repeating it changes nothing that FINAL shows."""
        ...

    def make_scratch(self, database: str, tables: Sequence[StoredTable]) -> None:
        """An empty database with ``tables``, which keep rows for ever; one of that name is
        dropped."""
        ...

    def drop_scratch(self, database: str) -> None: ...

    def noted(self) -> RestoreNote | None: ...

    def note(self, backup: str, *, ended: bool) -> None:
        """Record that the restore of ``backup`` begins, or has ended."""
        ...
