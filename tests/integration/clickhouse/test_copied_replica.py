"""A drill of a lost replica between two real servers."""

from __future__ import annotations

import uuid

import pytest

from streams.connect.sinks.backups.clickhouse import ClickHouseBackups
from streams.connect.sinks.backups.table_copy import copy_table
from streams.connect.sinks.shard_maps import replica_at
from streams.core.clock import SystemClock
from streams.core.command_errors import BackupFailed
from streams.core.settings import Settings
from streams.operate.drill.replica_drill import ReplicaDrill

DAYS = 150
TABLE = (
    "CREATE TABLE days_local (k LowCardinality(String), w DateTime('UTC'), m Map(String, UInt64), "
    "x Nullable(Float64), a Array(Int16), ver UInt64, at DateTime64(3, 'UTC')) "
    "ENGINE = ReplacingMergeTree(ver) PARTITION BY toYYYYMMDD(w) ORDER BY (k, w)"
)
ROWS = (
    "INSERT INTO days_local SELECT 'key', toDateTime(number * 86400, 'UTC'), map('a', number), "
    "if(number % 2, NULL, 0.1), [-1, number % 99], {ver}, toDateTime64(number + 0.5, 3, 'UTC') "
    "FROM numbers({first}, {count}) SETTINGS max_partitions_per_insert_block = 0"
)
EMPTY = "CREATE TABLE none_local (k String, ver UInt64) ENGINE = ReplacingMergeTree(ver) ORDER BY k"


@pytest.fixture
def pair(stack):
    """The same database on two servers of the stack."""
    name = f"replicas_{uuid.uuid4().hex[:8]}"
    settings = Settings(
        clickhouse_shards=",".join(stack.shards),
        clickhouse_user=stack.clickhouse_user,
        clickhouse_password_file=str(stack.clickhouse_password_file),
        clickhouse_database=name,
    )
    replicas = [replica_at(settings, group[0]) for group in settings.shards()[:2]]
    for replica in replicas:
        replica.create_database()
        replica.command(TABLE)
        replica.command(EMPTY)
        replica.command(ROWS.format(ver=1, first=0, count=DAYS))
    yield name, replicas
    for replica in replicas:
        replica.command(f"DROP DATABASE {name}")
        replica.close()


def drilled(name, replicas, copy=copy_table):
    gone, source = replicas
    scratch = f"{name}_copy"
    servers = [
        ClickHouseBackups(one, name, timeout_s=200.0, check=lambda: None) for one in replicas
    ]
    return ReplicaDrill(
        shard=0,
        gone=servers[0],
        others=servers[1:],
        behind_s=source.delay_s(),
        copy=lambda form: copy(form, source, name, gone, scratch),
        kept_days={},
        scratch=scratch,
        clock=SystemClock(),
        check=lambda: None,
        say=lambda text: None,
    ).run()


def test_a_replica_is_copied_to_the_bit_and_what_only_the_lost_one_has_is_named(pair):
    """Of any types, of more days than one insert may have by default; the copy goes in the end."""
    name, replicas = pair
    replicas[0].command(ROWS.format(ver=2, first=7, count=1))
    record = drilled(name, replicas)
    assert (record.rows, record.rpo_s, record.lost) == (DAYS, 0.0, {"days": 1})
    with pytest.raises(BackupFailed, match="days_local keys"):
        drilled(name, replicas, copy=lambda *given: None)
    found = {database for (database,) in replicas[0].query("SHOW DATABASES")[1]}
    assert f"{name}_copy" not in found
