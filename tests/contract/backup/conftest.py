"""The backup servers that every contract test runs on: in memory, and on a shard of the session's stack."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.connect.sinks.backups.clickhouse import ClickHouseBackups
from streams.connect.sinks.backups.memory import MemoryBackups
from streams.connect.sinks.backups.server import BackupServer
from streams.connect.sinks.backups.stored_table import StoredTable
from streams.connect.sinks.shard_maps import replica_at
from streams.core.settings import Settings

FORM = StoredTable(
    name="pairs_local",
    columns={"k": "String", "m": "Nullable(Int64)", "ver": "UInt64"},
    sorting_key="k",
    partition_key="",
)


class MemoryWorld:
    def __init__(self, folder: Path) -> None:
        self._memory = MemoryBackups([FORM])
        self.server: BackupServer = self._memory
        self.folder = folder

    def put(self, key: str, ver: int) -> None:
        self._memory.put("pairs_local", key, m=None, ver=ver)

    def lose(self) -> None:
        self._memory.rows["pairs_local"].clear()

    def keys(self) -> dict[str, int]:
        return {key: row["ver"] for key, row in self._memory.rows["pairs_local"].items()}

    def close(self) -> None:
        """Nothing is open."""


class ClickHouseWorld:
    """A database of its own."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._replica = replica_at(settings, settings.shards()[0][0])
        self._database = settings.clickhouse_database
        self._replica.create_database()
        self._replica.command(
            "CREATE TABLE pairs_local (k String, m Nullable(Int64), ver UInt64) "
            "ENGINE = ReplacingMergeTree(ver) ORDER BY k"
        )
        self.server: BackupServer = ClickHouseBackups(
            self._replica, self._database, timeout_s=200.0, check=lambda: None
        )
        self.folder = folder

    def put(self, key: str, ver: int) -> None:
        self._replica.command(f"INSERT INTO pairs_local SELECT '{key}', NULL, {ver}")

    def lose(self) -> None:
        self._replica.command("TRUNCATE TABLE pairs_local")

    def keys(self) -> dict[str, int]:
        rows = self._replica.query("SELECT k, ver FROM pairs_local FINAL")[1]
        return {str(key): int(ver) for key, ver in rows}

    def close(self) -> None:
        self._replica.command(f"DROP DATABASE {self._database}")
        self._replica.close()


@pytest.fixture(params=["memory", pytest.param("clickhouse", marks=pytest.mark.stack)])
def world(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[MemoryWorld | ClickHouseWorld]:
    found: MemoryWorld | ClickHouseWorld
    name = f"backups_{uuid.uuid4().hex[:8]}"
    if request.param == "memory":
        found = MemoryWorld(tmp_path)
    else:
        stack = request.getfixturevalue("stack")
        settings = Settings(
            clickhouse_shards=",".join(stack.shards),
            clickhouse_user=stack.clickhouse_user,
            clickhouse_password_file=str(stack.clickhouse_password_file),
            clickhouse_database=name,
        )
        # The one folder that the stack's shards may write to.
        home = Path(stack.clickhouse_password_file).parent
        found = ClickHouseWorld(settings, home / "backups" / name)
    yield found
    found.close()
