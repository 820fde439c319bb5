"""In-memory shards with a few rows, and what makes backups of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streams.connect.sinks.backups.memory import MemoryBackups
from streams.connect.sinks.backups.stored_table import StoredTable
from streams.connect.sinks.map_record import MapRecord
from streams.connect.sinks.sharding import HashSharding, ShardMap, WithoutShards
from streams.core.clock import VirtualClock
from streams.core.settings import Settings
from streams.operate.backup.catalog import KnownBackup, catalog
from streams.operate.backup.create import BackedUp, BackupMaking
from streams.operate.backup.destination import BackupDestination
from streams.operate.backup.manifest import BackupManifest, Declarations, ManifestMap
from streams.operate.backup.restore import ShardRestore
from streams.operate.backup.retention import Retention

DAY_S = 86_400
DAYS = Retention(interval_s=DAY_S, full_s=7 * DAY_S, keep_s=90 * DAY_S, timeout_s=3600)
M1 = StoredTable(
    name="m1_local",
    columns={"tenant": "String", "w": "DateTime", "n": "UInt64", "ver": "UInt64"},
    sorting_key="tenant, w",
    partition_key="toYYYYMMDD(w)",
)
LEDGER = StoredTable(
    name="ledger_local",
    columns={"grp": "String", "topic": "String", "part": "UInt32", "ver": "UInt64"},
    sorting_key="grp, topic, part",
    partition_key="",
)
TABLES = (M1, LEDGER)


class Preparing:
    """The migrations of an in-memory server: it notes what it was asked for."""

    def __init__(self, server: MemoryBackups) -> None:
        self.server = server
        self.claimed = False

    def prepare(self) -> None:
        self.server.before("prepare")

    def open(self) -> None:
        self.server.before("open")
        self.claimed = True


class Backups:
    """Two shards and a destination in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.clock = VirtualClock(1_764_000_000_000)
        self.destination = BackupDestination.of(Settings(backup_to=f"file://{folder}"))
        self.servers = [MemoryBackups(TABLES, url=f"shard-{n}") for n in range(2)]
        self.maps = [_map(MapRecord.of(_TWO, _URLS))]

    def rows(self, count: int, ver: int = 1, day: int = 20251129) -> None:
        """The window rows of ``count`` keys of each shard, and its row of the ledger."""
        for shard, server in enumerate(self.servers):
            for key in range(count):
                server.put("m1_local", f"{shard}/{day}/{key}", day=day, n=ver, ver=ver)
            server.put(
                "ledger_local",
                "g",
                grp="g",
                topic="t",
                part=shard,
                epoch=0,
                next_offset=ver * 10,
                ver=ver,
            )

    def what(self) -> BackedUp:
        return BackedUp(
            dia="1",
            database="dia",
            maps=[*self.maps],
            tokens=[],
            declarations=Declarations(app="dia", topics="", tables=""),
            tables={"m1_local": 30, "ledger_local": None},
        )

    def moved(self, day: int) -> None:
        """The rows of a day, since 1970, leave shard 1."""
        without = ShardMap(2, WithoutShards(2, HashSharding(2), (1,)))
        version = len(self.maps) + 1
        record = MapRecord.of(without, _URLS, version=version, first_day=day, last_day=day)
        self.maps.append(_map(record, moved=[day]))
        bucket = int(datetime.fromtimestamp(day * DAY_S, UTC).strftime("%Y%m%d"))
        source, target = self.servers[1].rows["m1_local"], self.servers[0]
        for key in [key for key, row in source.items() if row["day"] == bucket]:
            target.put("m1_local", key, **source.pop(key))

    def create(self, *, full: bool = False) -> BackupManifest:
        making = BackupMaking(
            self.destination, self.servers, self.clock, _free, _quiet, self._recorded
        )
        return making.make(self.what(), DAYS, full=full)

    def _recorded(self) -> list[ManifestMap]:
        return [*self.maps]

    def restored(
        self, manifest: BackupManifest, shard: int, into: MemoryBackups, **how: Any
    ) -> Preparing:
        preparing = Preparing(into)
        ShardRestore(
            self.destination,
            manifest,
            manifest.parts[shard],
            into,
            preparing,
            _free,
            _quiet,
            **how,
        ).run()
        return preparing

    def known(self) -> list[KnownBackup]:
        return catalog(self.destination)

    def whole(self) -> list[str]:
        return [one.name for one in self.known() if one.whole]


_TWO = ShardMap(2, HashSharding(2))
_URLS = (("http://a",), ("http://b",))


def _map(record: MapRecord, moved: Sequence[int] = ()) -> ManifestMap:
    digest = record.identity.digest
    return ManifestMap(digest=digest, in_force=True, record=record, moved=[*moved])


def _free() -> None:
    """No other process backs up meanwhile."""


def _quiet(text: str) -> None:
    """Talk is not tested here."""
