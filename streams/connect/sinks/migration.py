"""Migrations: versioned ``.sql`` files, run on every server of every shard.

``V001__name.sql`` runs once and must not change; its checksum is recorded. ``R001__name.sql`` runs
when its rendering changes, after all V files: views and retention follow the settings. Declared
tables, ``T__name``, run between them and gain newly declared columns. Every statement is
idempotent, so an interrupted run is repeated."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import resources
from string import Template
from typing import Any, Protocol

from streams.connect.sinks import map_record
from streams.connect.sinks.map_record import RecordedMap
from streams.connect.sinks.replica import UNKNOWN_TABLE, Replica, StatementRefused
from streams.connect.sinks.shard_claim import ShardPlace
from streams.connect.sinks.table_owners import (
    OWNER_LABEL,
    OwnedTables,
    label_of,
    refuse_anothers,
    without_owner,
)
from streams.connect.sinks.view_source import ViewSource
from streams.core.errors import RefusedBySafety
from streams.core.rows.clickhouse_table import ClickHouseTable

_FILE = re.compile(r"(?P<kind>[VR])(?P<number>\d{3})__(?P<name>\w+)\.sql\Z")


class Migration(Protocol):
    """Runs under one ``label``. ``once``: a single time."""

    @property
    def label(self) -> str: ...

    @property
    def once(self) -> bool: ...

    def statements(self, variables: Mapping[str, str]) -> list[str]:
        """In execution order, with ``variables`` filled in."""
        ...

    def checksum(self, variables: Mapping[str, str]) -> str:
        """Of the text that must not change after it ran, or whose change makes it run again."""
        ...


@dataclass(frozen=True, slots=True)
class FileMigration:
    """``kind`` V (once) or R (when its rendering changes)."""

    kind: str
    number: int
    name: str
    template: str

    @property
    def label(self) -> str:
        return f"{self.kind}{self.number:03d}__{self.name}"

    @property
    def once(self) -> bool:
        return self.kind == "V"

    def statements(self, variables: Mapping[str, str]) -> list[str]:
        """Statements end with ``;`` at the end of a line."""
        text = Template(self.template).substitute(variables)
        parts = re.split(r";[ \t]*(?:--[^\n]*)?\n", text + "\n")
        return [part.strip() for part in parts if _has_code(part)]

    def checksum(self, variables: Mapping[str, str]) -> str:
        """Of a V file's text, or of an R file's rendering."""
        return _sha256(self.template if self.once else "\n".join(self.statements(variables)))


_TABLE_LABEL = "T__"


@dataclass(frozen=True, slots=True)
class TableMigration:
    table: ClickHouseTable
    once = False

    @property
    def label(self) -> str:
        return f"{_TABLE_LABEL}{self.table.name}"

    def statements(self, variables: Mapping[str, str]) -> list[str]:
        engine = variables[f"engine_{self.table.name}_local"]
        return self.table.create(variables["database"], engine)

    def checksum(self, variables: Mapping[str, str]) -> str:
        return _sha256("\n".join(self.statements(variables)))


class MigrationState(Enum):
    APPLIED = "applied"
    PENDING = "pending"
    CHANGED = "changed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MigrationStanding:
    """``at`` is its last run."""

    label: str
    state: MigrationState
    at: Any = None


def load(tables: Iterable[ClickHouseTable]) -> list[Migration]:
    """Of this build and of ``tables``, in execution order."""
    found = []
    for file in (resources.files("streams.connect.sinks") / "migrations").iterdir():
        if match := _FILE.match(file.name):
            number = int(match["number"])
            found.append(FileMigration(match["kind"], number, match["name"], file.read_text()))
    found.sort(key=lambda migration: migration.number)
    return [
        *(migration for migration in found if migration.once),
        *(TableMigration(table) for table in tables),
        *(migration for migration in found if not migration.once),
    ]


def variables(source: ViewSource, *, m1_retention_days: int, replicated: bool) -> dict[str, str]:
    values = {
        "database": source.database,
        "m1_retention_days": str(m1_retention_days),
        "distributed_tables": source.distributed_tables(),
        "views": source.views(),
    }
    for name in source.columns:
        values[f"engine_{name}_local"] = engine(source.database, f"{name}_local", replicated)
    return values


def engine(database: str, table: str, replicated: bool) -> str:
    """Keeps the row with the highest ``ver`` per key."""
    if not replicated:
        return "ReplacingMergeTree(ver)"
    path = f"/clickhouse/tables/{{shard}}/{database}/{table}"
    return f"ReplicatedReplacingMergeTree('{path}', '{{replica}}', ver)"


class Migrator:
    def __init__(
        self,
        replica: Replica,
        source: ViewSource,
        values: Mapping[str, str],
        secrets: Sequence[str],
        place: ShardPlace,
        maps: Sequence[RecordedMap],
    ) -> None:
        """``place``: the shard that the server claims. ``maps``: those that it has to record."""
        self._replica = replica
        self._record = f"{source.database}.migrations_local"
        self._values = values
        self._secrets = secrets
        self._place = place
        self._maps = maps
        self._migrations = load(source.tables.values())
        self._tables = source.tables
        self._database = source.database

    def standings(self) -> list[MigrationStanding]:
        """Of this build, then those that only the server has."""
        done = self._recorded()
        result = []
        for migration in self._migrations:
            recorded = done.pop(migration.label, None)
            if recorded is None:
                result.append(MigrationStanding(migration.label, MigrationState.PENDING))
                continue
            checksum, at = recorded
            state = MigrationState.APPLIED
            if checksum != migration.checksum(self._values):
                state = MigrationState.CHANGED if migration.once else MigrationState.PENDING
            result.append(MigrationStanding(migration.label, state, at))
        result += [
            MigrationStanding(label, MigrationState.UNKNOWN, at)
            for label, (_, at) in sorted(done.items())
        ]
        return result

    def pending(self) -> list[tuple[str, list[str]]]:
        """Label and statements of what `apply` would run. Raises `RefusedBySafety`."""
        found = [s for s in self._checked() if s.state is MigrationState.PENDING]
        ran_before = {s.label for s in found if s.at is not None}
        for table in self._tables.values():
            if TableMigration(table).label in ran_before:
                self._refuse_other_form(table)
        waiting = {s.label for s in found}
        return [
            (migration.label, migration.statements(self._values))
            for migration in self._migrations
            if migration.label in waiting
        ]

    def apply(self, own: OwnedTables | None = None) -> list[str]:
        """`prepare`, then `open`. Returns the labels. Raises `RefusedBySafety` when a V file has
        changed after it ran, a column or key differs from the declaration, a newer build has
        migrated this server, or another app has a table of ``own``; `ShardMapChanged` when it holds
        another shard."""
        if own is not None:
            refuse_anothers(own, self._owners(), self._replica.url)
        applied = self.prepare()
        if own is not None:
            for table in without_owner(own, self._owners()):
                self._write_record(label_of(table), own.app)
        self.open()
        return applied

    def prepare(self) -> list[str]:
        """Make tables and views, without a claim: no worker writes to such a server. Raises
        `RefusedBySafety` as `apply`."""
        waiting = self.pending()
        self._replica.create_database()
        self._replica.command(_RECORD_TABLE.format(table=self._record))
        for statement in self._secrets:
            self._replica.command(statement)
        checksums = {m.label: m.checksum(self._values) for m in self._migrations}
        for label, statements in waiting:
            for statement in statements:
                self._replica.command(statement)
            self._write_record(label, checksums[label])
        return [label for label, _ in waiting]

    def _write_record(self, label: str, checksum: str) -> None:
        named = {"label": label, "checksum": checksum}
        self._replica.command(_RECORD.format(table=self._record), named)

    def _owners(self) -> dict[str, str]:
        """The app of each table that has one."""
        return {
            label.removeprefix(OWNER_LABEL): app
            for label, (app, _) in self._records().items()
            if label.startswith(OWNER_LABEL)
        }

    def open(self) -> None:
        """Claim the shard and record the maps. Raises `ShardMapChanged`."""
        self._replica.claim(self._place)
        self._record_maps()

    def checksums(self) -> dict[str, str]:
        """Of this build's migrations, by label."""
        return {m.label: m.checksum(self._values) for m in self._migrations}

    def _record_maps(self) -> None:
        """Write the records of maps that the server lacks."""
        there = {
            (one.record.version, one.in_force)
            for one in map_record.read(self._replica.query(map_record.READ)[1])
        }
        for one in self._maps:
            if not there & {(one.record.version, True), (one.record.version, one.in_force)}:
                parameters = one.record.parameters(in_force=one.in_force)
                self._replica.command(map_record.WRITE, parameters)
            for day, state in one.states.items():
                day_parameters = {"version": one.record.version, "day": day, "state": int(state)}
                self._replica.command(map_record.WRITE_DAY, day_parameters)

    def _recorded(self) -> dict[str, tuple[str, Any]]:
        """Checksum and time of each migration that ran."""
        return {
            label: said
            for label, said in self._records().items()
            if not label.startswith(OWNER_LABEL)
        }

    def _records(self) -> dict[str, tuple[str, Any]]:
        try:
            _, rows = self._replica.query(
                f"SELECT label, checksum, at FROM {self._record} FINAL"  # noqa: S608 - our own name
            )
        except StatementRefused as error:
            if error.code in UNKNOWN_TABLE:
                return {}
            raise
        return {label: (checksum, at) for label, checksum, at in rows}

    def _refuse_other_form(self, table: ClickHouseTable) -> None:
        """Columns can be added; the key of stored rows cannot change."""
        _, rows = self._replica.query(
            "SELECT name, type, is_in_sorting_key FROM system.columns "
            "WHERE database = {database:String} AND table = {table:String} ORDER BY position",
            {"database": self._database, "table": f"{table.name}_local"},
        )
        there = {name: kind for name, kind, _ in rows}
        key = {name for name, _, in_key in rows if in_key}
        hint = "Declare it as it was, or declare a table of another name."
        if key != set(table.key):
            raise RefusedBySafety(
                f"table {table.name} at {self._replica.url} keeps rows by ({', '.join(key)}), its "
                f"declaration by ({', '.join(table.key)}). {hint}"
            )
        for name, kind in table.types.items():
            if there.get(name, str(kind)) != str(kind):
                raise RefusedBySafety(
                    f"column {name} of {table.name} is {there[name]} at {self._replica.url}, its "
                    f"declaration says {kind}. {hint}"
                )

    def _checked(self) -> list[MigrationStanding]:
        standings = self.standings()
        for standing in standings:
            if standing.state is MigrationState.CHANGED:
                raise RefusedBySafety(
                    f"{standing.label}.sql was changed after it ran at {self._replica.url}. Restore "
                    "the file, and put the change into a new version."
                )
            if standing.state is MigrationState.UNKNOWN and not standing.label.startswith(
                _TABLE_LABEL
            ):
                raise RefusedBySafety(
                    f"{self._replica.url} holds migration {standing.label}, which this build does "
                    "not know: a newer dia ran there. Use that version."
                )
        return standings


_RECORD_TABLE = """
CREATE TABLE IF NOT EXISTS {table}
(label String, checksum String, at DateTime64(3, 'UTC') DEFAULT now64(3))
ENGINE = ReplacingMergeTree(at) ORDER BY label
"""

_RECORD = """
INSERT INTO {table} (label, checksum, at)
SELECT {{label:String}}, {{checksum:String}},
    greatest(now64(3), max(at) + INTERVAL 1 MILLISECOND)
FROM {table} WHERE label = {{label:String}}
"""
"""The last written record of a label counts, even after the server's clock was set back."""


def _has_code(text: str) -> bool:
    return any(line.strip() and not line.strip().startswith("--") for line in text.splitlines())


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
