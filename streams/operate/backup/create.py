"""Makes one backup.

U1  choose a name, and the whole backup that it builds on
U2  every server has what its shard's other replicas acknowledged; read the ledger of every shard
U3  digests of the tables of every shard, which show no fewer rows than the newest backup; then of
    each shard ClickHouse's BACKUP, and digests again
U4  read each part's list of files where this process looks for it
U5  publish the manifest, unless other shard maps are recorded by now: only here does the backup exist

Killed before U5 it leaves parts without a manifest, which nothing reads and a later `prune`
deletes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from streams.connect.sinks.backups.server import BackupServer, LedgerOffset
from streams.connect.sinks.backups.stored_table import Digests, StoredTable
from streams.core.clock import Clock
from streams.core.command_errors import BackupFailed
from streams.core.errors import RefusedBySafety
from streams.operate.backup import manifest as manifests
from streams.operate.backup.catalog import KnownBackup, catalog, name_of, newest
from streams.operate.backup.comparison import (
    differences,
    moved_since,
    recorded,
    said,
    unexpired,
    unmoved,
)
from streams.operate.backup.destination import BackupDestination
from streams.operate.backup.manifest import (
    BackupManifest,
    Declarations,
    ManifestMap,
    RecordedToken,
    ShardPart,
)
from streams.operate.backup.retention import Retention

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUp:
    """What is backed up beside the rows. ``tables``: those that the app declares, and those of the
    windows: each name with ``_local``, and for how many days rows are kept, None: for ever."""

    dia: str
    database: str
    maps: list[ManifestMap]
    tokens: list[RecordedToken]
    declarations: Declarations
    tables: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class BackupMaking:
    """``servers``: one of each shard, in order. ``check`` runs between the steps, and raises where
    another process backs up meanwhile. ``maps``: what the servers record now."""

    destination: BackupDestination
    servers: Sequence[BackupServer]
    clock: Clock
    check: Callable[[], None]
    say: Callable[[str], None]
    maps: Callable[[], Sequence[ManifestMap]]

    def make(self, what: BackedUp, retention: Retention, *, full: bool = False) -> BackupManifest:
        """Raises `BackupFailed`, `DependencyUnreachable`, and `ShardUnavailable`; without ``full``
        also `RefusedBySafety`, where a shard lacks rows that the newest backup has."""
        began_ms = self.clock.now_ms()
        known = catalog(self.destination)  # U1
        base = None if full else self._base(known, what, retention, began_ms)
        name = name_of(began_ms, full=base is None)
        if any(one.name == name for one in known):
            raise RefusedBySafety(f"a backup {name} exists. Run the command again.")
        tables = [self._tables(server, what.tables.keys()) for server in self.servers]
        ledger = self._ledger(tables)  # U2
        dispositions = _added([server.dispositions() for server in self.servers])
        forms = [backed for backed, _ in tables]
        before = self._side_by_side(self._digests, forms)  # U3
        last = newest(known, began_ms)
        if last is not None and last.manifest is not None and not full:
            self._refuse_shrunk(last.manifest, before, what, began_ms)
        part = partial(self._part, name, base)
        parts = self._side_by_side(part, forms, before)
        made = BackupManifest(
            name=name,
            base=base.name if base else "",
            began_ms=began_ms,
            ended_ms=self.clock.now_ms(),
            dia=what.dia,
            database=what.database,
            maps=what.maps,
            ledger=ledger,
            dispositions=dispositions,
            tokens=what.tokens,
            declarations=what.declarations,
            parts=parts,
            undeclared=sorted({one for _, others in tables for one in others}),
        )
        self.check()
        self._refuse_moved(what)
        if base is not None and not _is_whole(self.destination, base.name):
            raise BackupFailed(f"backup {base.name} went away while {name} was made on it.")
        self.destination.publish(name, manifests.encode(made))  # U5
        return made

    def _refuse_moved(self, what: BackedUp) -> None:
        """A move that is planned from now on finds every row in its part."""
        if list(self.maps()) != what.maps:
            raise BackupFailed(
                "shards were added, or days moved between the shards, while their rows were copied: some "
                "may be in two parts, or in none. Make the backup once `dia shards list` shows that it is "
                "over."
            )

    def _base(
        self, known: Sequence[KnownBackup], what: BackedUp, retention: Retention, now_ms: int
    ) -> BackupManifest | None:
        """Of the same database, and of no shard that has gone."""
        base = retention.base(known, now_ms)
        if base is None or base.database != what.database or len(base.parts) > len(self.servers):
            return None
        return base

    def _refuse_shrunk(
        self,
        newest: BackupManifest,
        found: Sequence[Mapping[str, Digests]],
        what: BackedUp,
        now_ms: int,
    ) -> None:
        """A server that lost rows would make the newest backup one without them."""
        kept_days, moved = what.tables, moved_since(newest.maps, what.maps)
        for part in newest.parts[: len(self.servers)]:
            server = self.servers[part.shard]
            lost = [
                difference
                for table in part.tables
                if table.form.name in kept_days
                for difference in differences(
                    part.shard,
                    unmoved(unexpired(table, kept_days[table.form.name], now_ms), moved),
                    found[part.shard].get(table.form.name, {}),
                    beside=True,
                )
            ]
            if lost:
                raise RefusedBySafety(
                    f"{server.url} lacks rows of backup {newest.name}: {said(lost)}. `dia backup restore "
                    f"{newest.name} --shard {part.shard} --beside-rows` brings them back; if they are "
                    "gone on purpose, `dia backup create --full`."
                )

    @staticmethod
    def _tables(
        server: BackupServer, declared: AbstractSet[str]
    ) -> tuple[list[StoredTable], list[str]]:
        """Those to back up, and the names of undeclared ones."""
        found = server.tables()
        missing = declared - {table.name for table in found}
        if missing:
            raise BackupFailed(
                f"{server.url} has no table {', '.join(sorted(missing))}: `dia migrate apply` makes it."
            )
        return [table for table in found if table.name in declared], [
            table.name
            for table in found
            if table.name not in declared and table.name not in _BOOKKEEPING
        ]

    def _ledger(self, tables: Sequence[tuple[list[StoredTable], list[str]]]) -> list[LedgerOffset]:
        for server, (backed, _) in zip(self.servers, tables, strict=True):
            server.settle([table.name for table in backed])
        found = [one for server in self.servers for one in server.ledger()]
        return sorted(found, key=lambda one: (one.group, one.topic, one.partition, one.epoch))

    def _side_by_side(self, work: Callable[..., T], *of_shards: Sequence[Any]) -> list[T]:
        """``work`` with the number of each shard, and what ``of_shards`` have for it."""
        shards = range(len(self.servers))
        with ThreadPoolExecutor(len(self.servers), thread_name_prefix="backup") as threads:
            return list(threads.map(work, shards, *of_shards))

    def _digests(self, shard: int, forms: Sequence[StoredTable]) -> dict[str, Digests]:
        return {form.name: self.servers[shard].digests(form) for form in forms}

    def _part(
        self,
        name: str,
        base: BackupManifest | None,
        shard: int,
        forms: Sequence[StoredTable],
        before: Mapping[str, Digests],
    ) -> ShardPart:
        server = self.servers[shard]
        builds_on = base.name if base and any(p.shard == shard for p in base.parts) else ""
        began_ms = self.clock.now_ms()
        self.check()
        size = server.back_up(
            [form.name for form in forms],
            self.destination.place(name, shard),
            self.destination.place(builds_on, shard) if builds_on else None,
        )
        after = self._digests(shard, forms)
        index = self.destination.index(name, shard)  # U4
        if index is None:
            raise BackupFailed(
                f"{server.url} wrote {self.destination.place(name, shard)}, and it is not at "
                f"{self.destination}. Let DIA_BACKUP_TO name the place that the servers write to."
            )
        self.say(f"shard {shard}: {size.own_bytes} bytes from {server.url}")
        return ShardPart(
            shard=shard,
            url=server.url,
            version=server.version(),
            base=builds_on,
            began_ms=began_ms,
            ended_ms=self.clock.now_ms(),
            size=size,
            index_sha256=manifests.sha256(index),
            migrations=server.migrations(),
            tables=[recorded(form, before[form.name], after[form.name]) for form in forms],
        )


_BOOKKEEPING = frozenset(
    {
        "migrations_local",
        "shard_map_local",
        "shard_maps_local",
        "shard_moves_local",
        "shard_move_notes_local",
    }
)
"""Their content stands in the manifest, and `dia migrate apply` writes it anew. Notes of movers are of no
use after their move."""


def _is_whole(destination: BackupDestination, name: str) -> bool:
    return any(one.whole and one.name == name for one in catalog(destination))


def _added(found: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for counts in found:
        for name, count in counts.items():
            total[name] = total.get(name, 0) + count
    return total
