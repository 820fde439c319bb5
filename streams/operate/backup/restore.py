"""Gives a server the rows of its shard in a backup.

N1  the server has no rows, or says that the restore of this backup began there; its tables are made,
    without a claim: workers send no row to a server that does not say which shard it holds
N2  the server records that this restore begins
N3  each table is restored, and compared with the manifest; one that is equal already is skipped
N4  the server records that it ended
N5  the server claims its shard and records the maps: workers and readers use it from here on

Killed at any step, the same command goes on: nothing that was restored is deleted, and a table that
is restored twice shows the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from streams.connect.sinks.backups.server import BackupServer, RestoreNote
from streams.connect.sinks.backups.stored_table import StoredTable
from streams.core.command_errors import BackupFailed
from streams.core.errors import RefusedBySafety
from streams.operate.backup.comparison import TableDifference, differences, form_differences, said
from streams.operate.backup.destination import BackupDestination
from streams.operate.backup.manifest import BackupManifest, ShardPart, TableRecord


class Preparation(Protocol):
    """The migrations of the servers of one shard."""

    def prepare(self) -> None:
        """Make the tables, without a claim; no row expires until `open`."""
        ...

    def open(self) -> None:
        """Claim the shard, record the maps, and let rows expire."""
        ...


@dataclass(frozen=True, slots=True)
class ShardRestore:
    """``check`` runs before each step, and raises where another process does the same. ``beside``:
    put the rows beside those that the server has."""

    destination: BackupDestination
    manifest: BackupManifest
    part: ShardPart
    server: BackupServer
    preparation: Preparation
    check: Callable[[], None]
    say: Callable[[str], None]
    beside: bool = False

    def run(self) -> int:
        """Returns the rows that the tables of the backup show. Raises `RefusedBySafety` and
        `BackupFailed`."""
        note = self.server.noted()
        if note != RestoreNote(self.manifest.name, ended=True) or self.beside:
            self._fill(note)
        else:
            self._refuse_lost()
        self.check()
        self.preparation.open()  # N5
        return sum(table.rows for table in self.part.tables)

    def _fill(self, note: RestoreNote | None) -> None:
        if not self.beside and note != RestoreNote(self.manifest.name, ended=False):
            self._refuse_rows()  # N1
        self.check()
        self.preparation.prepare()
        self._refuse_forms({form.name: form for form in self.server.tables()})
        self.server.note(self.manifest.name, ended=False)  # N2
        for table in self.part.tables:  # N3
            self.check()
            self._restore(table)
        self.server.note(self.manifest.name, ended=True)  # N4

    def _restore(self, table: TableRecord) -> None:
        shard = self.part.shard
        found = self.server.digests(table.form)
        if self.beside or any(differences(shard, table, found)):
            self.server.restore(table.form.name, self.destination.place(self.manifest.name, shard))
            found = self.server.digests(table.form)
        wrong = list(differences(shard, table, found, beside=self.beside))
        if wrong:
            raise BackupFailed(
                f"{self.server.url} has other rows than the backup: {said(wrong)}. It is not opened to "
                "workers."
            )
        self.say(f"shard {shard}: {table.form.name}, {table.rows} rows")

    def _refuse_rows(self) -> None:
        holding = [form.name for form in self.server.tables() if self._holds(form)]
        if holding:
            raise RefusedBySafety(
                f"{self.server.url} holds rows in {', '.join(holding)}. Restore into an empty server, or "
                "add --beside-rows: of each key the newest row stays."
            )

    def _refuse_lost(self) -> None:
        """The restore has ended there before. Rows that went away since do not come back by it."""
        there = {form.name for form in self.server.tables()}
        lost = [
            difference
            for table in self.part.tables
            for difference in differences(
                self.part.shard,
                table,
                self.server.digests(table.form) if table.form.name in there else {},
                beside=True,
            )
        ]
        if lost:
            raise RefusedBySafety(
                f"{self.server.url} was restored from {self.manifest.name} before, and lacks rows of it "
                f"now: {said(lost)}. Unless they expired, add --beside-rows: it restores them again, and "
                "of each key the newest row stays."
            )

    def _holds(self, form: StoredTable) -> bool:
        names = {table.form.name for table in self.part.tables}
        return form.name in names and any(self.server.digests(form).values())

    def _refuse_forms(self, there: Mapping[str, StoredTable]) -> None:
        found: list[TableDifference] = []
        for table in self.part.tables:
            here = there.get(table.form.name)
            if here is None:
                raise RefusedBySafety(
                    f"the app declares no table {table.form.name.removesuffix('_local')}, and the backup "
                    "has it. Run the version of the app that declares it."
                )
            found += form_differences(self.part.shard, table.form, here)
        if found:
            raise RefusedBySafety(
                f"{self.server.url} has tables of another form than the backup: {said(found)}. Run the "
                "version of the app that declares them so."
            )


def refuse_newer(manifest: BackupManifest, known: Mapping[str, str]) -> None:
    """``known``: checksums of the migrations of this build by label, of those that run once. Raises
    `RefusedBySafety` for a backup of a newer build."""
    for part in manifest.parts:
        for label, checksum in part.migrations.items():
            if label.startswith("V") and known.get(label) != checksum:
                raise RefusedBySafety(
                    f"backup {manifest.name} has migration {label}, which this build does not have: dia "
                    f"{manifest.dia} made it. Use that version or a newer one."
                )
