"""Migrations: plain ``.sql`` files, one per version, run on every server of every shard.

``V001__name.sql`` runs once and must never change after: its checksum is recorded. ``R001__name
.sql`` runs whenever what it renders to has changed, after all the V files: views and retention
follow the settings. Every statement is idempotent, so a run that broke off is simply run again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import resources
from string import Template
from typing import Any

from streams.errors import RefusedBySafety
from streams.sinks.replica import UNKNOWN_TABLE, Replica, StatementRefused
from streams.sinks.shard_claim import Place
from streams.sinks.view_source import COLUMNS, ViewSource

_FILE = re.compile(r"(?P<kind>[VR])(?P<number>\d{3})__(?P<name>\w+)\.sql\Z")


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: ``kind`` V (once) or R (whenever its rendering changes)."""

    kind: str
    number: int
    name: str
    template: str

    @property
    def label(self) -> str:
        return f"{self.kind}{self.number:03d}__{self.name}"

    def statements(self, variables: Mapping[str, str]) -> list[str]:
        """The file's statements, variables filled in. A statement ends with ``;`` at a line's end."""
        text = Template(self.template).substitute(variables)
        parts = re.split(r";[ \t]*(?:--[^\n]*)?\n", text + "\n")
        return [part.strip() for part in parts if _has_code(part)]

    def checksum(self, variables: Mapping[str, str]) -> str:
        """Of what must not change: a V file's own text, an R file's rendering."""
        text = self.template
        if self.kind == "R":
            text = "\n".join(self.statements(variables))
        return hashlib.sha256(text.encode()).hexdigest()


class State(Enum):
    """Where one migration stands on one server."""

    APPLIED = "applied"
    PENDING = "pending"
    CHANGED = "changed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Standing:
    """One migration on one server; ``at`` is when it last ran there."""

    label: str
    state: State
    at: Any = None


def load() -> list[Migration]:
    """Every migration of this build, in the order they run: V files, then R files."""
    found = []
    for file in (resources.files("streams.sinks") / "migrations").iterdir():
        if match := _FILE.match(file.name):
            number = int(match["number"])
            found.append(Migration(match["kind"], number, match["name"], file.read_text()))
    return sorted(found, key=lambda m: (m.kind == "R", m.number))


def variables(source: ViewSource, *, m1_retention_days: int, replicated: bool) -> dict[str, str]:
    """What the files may name: ``database``, ``engine_TABLE``, ``rows_VIEW`` and the settings."""
    values = {
        "database": source.database,
        "m1_retention_days": str(m1_retention_days),
        "distributed_tables": source.distributed_tables(),
    }
    for name in COLUMNS:
        values[f"engine_{name}_local"] = engine(source.database, f"{name}_local", replicated)
        values[f"rows_{name}"] = source.rows(name)
    return values


def engine(database: str, table: str, replicated: bool) -> str:
    """The engine clause of a table that keeps the row with the highest ``ver`` of each key."""
    if not replicated:
        return "ReplacingMergeTree(ver)"
    path = f"/clickhouse/tables/{{shard}}/{database}/{table}"
    return f"ReplicatedReplacingMergeTree('{path}', '{{replica}}', ver)"


class Migrator:
    """Brings one server to this build's schema."""

    def __init__(
        self,
        replica: Replica,
        source: ViewSource,
        values: Mapping[str, str],
        secrets: Sequence[str],
        place: Place,
    ) -> None:
        """``place``: what the server holds, or shall hold from now on."""
        self._replica = replica
        self._record = f"{source.database}.migrations_local"
        self._values = values
        self._secrets = secrets
        self._place = place
        self._migrations = load()

    def standings(self) -> list[Standing]:
        """Every migration of this build, then those that only the server knows."""
        done = self._recorded()
        result = []
        for migration in self._migrations:
            recorded = done.pop(migration.label, None)
            if recorded is None:
                result.append(Standing(migration.label, State.PENDING))
                continue
            checksum, at = recorded
            state = State.APPLIED
            if checksum != migration.checksum(self._values):
                state = State.PENDING if migration.kind == "R" else State.CHANGED
            result.append(Standing(migration.label, state, at))
        result += [Standing(label, State.UNKNOWN, at) for label, (_, at) in sorted(done.items())]
        return result

    def pending(self) -> list[tuple[str, list[str]]]:
        """Label and statements of what `apply` would run; `RefusedBySafety` as `apply`."""
        waiting = {s.label for s in self._checked() if s.state is State.PENDING}
        return [
            (migration.label, migration.statements(self._values))
            for migration in self._migrations
            if migration.label in waiting
        ]

    def apply(self) -> list[str]:
        """Run what is pending; the labels that ran.

        Raises `RefusedBySafety` when a V file was changed after it ran here, or when a newer
        build has migrated this server, and `ShardMapChanged` when it holds another shard.
        """
        waiting = self.pending()
        self._replica.create_database()
        self._replica.command(_RECORD_TABLE.format(table=self._record))
        for statement in self._secrets:
            self._replica.command(statement)
        checksums = {m.label: m.checksum(self._values) for m in self._migrations}
        for label, statements in waiting:
            for statement in statements:
                self._replica.command(statement)
            self._replica.command(
                f"INSERT INTO {self._record} (label, checksum) "
                "SELECT {label:String}, {checksum:String}",
                {"label": label, "checksum": checksums[label]},
            )
        self._replica.claim(self._place)
        return [label for label, _ in waiting]

    def _recorded(self) -> dict[str, tuple[str, Any]]:
        try:
            _, rows = self._replica.query(
                f"SELECT label, checksum, at FROM {self._record} FINAL"  # noqa: S608 - our own name
            )
        except StatementRefused as error:
            if error.code in UNKNOWN_TABLE:
                return {}
            raise
        return {label: (checksum, at) for label, checksum, at in rows}

    def _checked(self) -> list[Standing]:
        standings = self.standings()
        for standing in standings:
            if standing.state is State.CHANGED:
                raise RefusedBySafety(
                    f"{standing.label}.sql was changed after it ran at {self._replica.url}. Restore "
                    "the file, and put the change into a new version."
                )
            if standing.state is State.UNKNOWN:
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


def _has_code(text: str) -> bool:
    return any(line.strip() and not line.strip().startswith("--") for line in text.splitlines())
