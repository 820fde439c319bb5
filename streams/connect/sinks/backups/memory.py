"""`BackupServer` in memory: tables as dictionaries, and backups as files of JSON."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from streams.connect.sinks.backups.server import LedgerOffset, RestoreNote, StoredSize
from streams.connect.sinks.backups.stored_table import (
    KEY_BUCKETS,
    NO_ROWS,
    Digests,
    RowDigest,
    StoredTable,
)
from streams.core.command_errors import BackupFailed

_PLACE = re.compile(r"File\('(?P<path>[^']+)'\)")
_INDEX = ".backup"


class MemoryBackups:
    """``before`` gets the name of each call before it has an effect, and may raise."""

    def __init__(
        self,
        tables: Sequence[StoredTable],
        *,
        url: str = "memory",
        migrations: dict[str, str] | None = None,
        before: Callable[[str], None] = lambda step: None,
    ) -> None:
        self.url = url
        self.forms = {table.name: table for table in tables}
        self.rows: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in self.forms}
        """table, then key, to row"""
        self.scratch: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
        self.newest: RestoreNote | None = None
        self.before = before
        self._migrations = migrations or {}

    def put(self, table: str, key: str, **row: Any) -> None:
        """The row with the highest ``ver`` stays."""
        _put(self.rows[table], key, row)

    def version(self) -> str:
        return "memory"

    def tables(self) -> list[StoredTable]:
        return [self.forms[name] for name in sorted(self.forms)]

    def migrations(self) -> dict[str, str]:
        return self._migrations

    def ledger(self) -> list[LedgerOffset]:
        self.before("ledger")
        return [
            LedgerOffset(
                group=row["grp"],
                topic=row["topic"],
                partition=row["part"],
                epoch=row["epoch"],
                next_offset=row["next_offset"],
            )
            for row in self.rows.get("ledger_local", {}).values()
        ]

    def dispositions(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for row in self.rows.get("dead_letters_local", {}).values():
            found[row["disposition"]] = found.get(row["disposition"], 0) + 1
        return found

    def digests(self, table: StoredTable, database: str = "") -> Digests:
        self.before("digests")
        rows = self.scratch[database] if database else self.rows
        found: dict[int, RowDigest] = {}
        for key, row in rows[table.name].items():
            text = json.dumps([key, row], sort_keys=True).encode()
            bucket = row["day"] if table.by_day else zlib.crc32(key.encode()) % KEY_BUCKETS
            was = found.get(bucket, NO_ROWS)
            found[bucket] = RowDigest(
                rows=was.rows + 1,
                events=was.events + row.get("n", 0),
                versions=str(int(was.versions) + row["ver"]),
                hash=str(int(was.hash) ^ zlib.crc32(text)),
            )
        return found

    def settle(self, tables: Sequence[str]) -> None:
        self.before("settle")

    def back_up(self, tables: Sequence[str], target: str, base: str | None) -> StoredSize:
        self.before("back_up")
        folder = _path(target)
        if folder.exists():
            raise BackupFailed(f"{folder} exists.")
        held = _read(_path(base)) if base else {}
        folder.mkdir(parents=True)
        self.before("written in part")
        own = {
            table: {
                key: None if held.get(table, {}).get(key) == row else row
                for key, row in self.rows[table].items()
            }
            for table in tables
        }
        text = json.dumps({"base": base, "tables": own})
        (folder / _INDEX).write_text(text)
        self.before("back_up answered")
        return StoredSize(files=1, bytes=len(text), own_bytes=len(text))

    def restore(self, table: str, source: str, database: str = "") -> None:
        self.before("restore")
        rows = self.scratch[database] if database else self.rows
        for key, row in _read(_path(source))[table].items():
            _put(rows[table], key, row)
        self.before("restore answered")

    def make_scratch(self, database: str, tables: Sequence[StoredTable]) -> None:
        self.before("make_scratch")
        self.scratch[database] = {table.name: {} for table in tables}

    def drop_scratch(self, database: str) -> None:
        self.scratch.pop(database, None)

    def noted(self) -> RestoreNote | None:
        return self.newest

    def note(self, backup: str, *, ended: bool) -> None:
        self.before("note")
        self.newest = RestoreNote(backup, ended)


def _put(rows: dict[str, dict[str, Any]], key: str, row: dict[str, Any]) -> None:
    if key not in rows or rows[key]["ver"] <= row["ver"]:
        rows[key] = row


def _path(place: str) -> Path:
    found = _PLACE.fullmatch(place)
    assert found is not None, f"{place} is no folder"
    return Path(found["path"])


def _read(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Raises `BackupFailed` where the folder or its base is missing."""
    try:
        stored = json.loads((folder / _INDEX).read_text())
    except (OSError, ValueError) as error:
        raise BackupFailed(f"{folder} is not a backup: {error}") from error
    held = _read(_path(stored["base"])) if stored["base"] else {}
    return {
        table: {key: held[table][key] if row is None else row for key, row in rows.items()}
        for table, rows in stored["tables"].items()
    }
