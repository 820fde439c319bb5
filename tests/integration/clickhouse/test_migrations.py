"""Migrations on real servers: each runs once, again if its setting changed, and stops if its file
changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from agents.app import app
from streams.connect.sinks import migration, schema
from streams.connect.sinks.migration import MigrationState
from streams.connect.sinks.table_owners import OwnedTables
from streams.connect.sinks.view_source import WINDOWS, ViewSource, collections
from streams.core.errors import RefusedBySafety
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.settings import Settings
from tests.integration.clickhouse.parsing import parse

pytestmark = pytest.mark.stack

TABLES = app.clickhouse_tables
NAMES = (*WINDOWS, *TABLES)


def test_migrating_again_does_nothing(settings: Settings, servers: list[schema.Server]) -> None:
    """`dia up` and every start of a worker may run them."""
    for server in servers:
        assert server.migrator.apply() == []
        assert {standing.state for standing in server.migrator.standings()} == {
            MigrationState.APPLIED
        }


def test_a_changed_setting_runs_its_migration_again(
    settings: Settings, servers: list[schema.Server]
) -> None:
    """Retention is a setting; only the file that names it runs again."""
    for days in (60, settings.m1_retention_days):
        changed = dataclasses.replace(settings, m1_retention_days=days)
        server = schema.servers(changed, app.clickhouse_tables)[0]
        assert server.migrator.apply() == ["R001__retention"]
        _, ((ddl,),) = server.replica.query("SHOW CREATE TABLE m1_local")
        assert f"toIntervalDay({days})" in ddl
        server.replica.close()


def test_a_migration_counts_as_run_after_the_clock_was_set_back(
    servers: list[schema.Server],
) -> None:
    """Otherwise plan and apply would show it as pending until the clock has passed the earlier
    time."""
    servers[0].replica.command(
        "INSERT INTO migrations_local (label, checksum, at) "
        "SELECT 'R002__views', 'other', now64(3) + INTERVAL 1 HOUR"
    )
    assert servers[0].migrator.apply() == ["R002__views"]
    assert servers[0].migrator.pending() == []


def test_every_table_writes_a_part_to_disk_before_acknowledging(
    servers: list[schema.Server],
) -> None:
    """The pipeline deletes acknowledged rows from its state: a power loss must not lose them."""
    for name in NAMES:
        _, ((ddl,),) = servers[0].replica.query(f"SHOW CREATE TABLE {name}_local")
        assert "fsync_after_insert = 1, fsync_part_directory = 1" in ddl, name


def test_a_table_belongs_to_the_app_that_made_it(servers: list[schema.Server]) -> None:
    """Rows of another app would have the same keys. The record is no migration."""
    server, own = servers[0], app.topology.own_tables
    server.migrator.apply(OwnedTables("dia", own))
    with pytest.raises(RefusedBySafety, match=r"table m1 at .* is of app dia"):
        server.migrator.apply(OwnedTables("other", frozenset({"m1"})))
    assert server.migrator.apply(OwnedTables("dia", own)) == []
    assert {one.state for one in server.migrator.standings()} == {MigrationState.APPLIED}


@pytest.mark.parametrize(("label", "word"), [("V001__windows", "changed"), ("V999__x", "newer")])
def test_a_server_with_a_different_migration_is_refused(
    servers: list[schema.Server], label: str, word: str
) -> None:
    """The file changed, or a newer build migrated the server: the command stops before it changes
    anything."""
    server = servers[0]
    _, before = server.replica.query("SELECT label, checksum FROM migrations_local FINAL")
    server.replica.command(
        "INSERT INTO migrations_local (label, checksum) SELECT {label:String}, 'other'",
        {"label": label},
    )
    try:
        with pytest.raises(RefusedBySafety, match=word):
            server.migrator.apply()
    finally:
        server.replica.command(
            "DELETE FROM migrations_local WHERE label = {label:String}", {"label": label}
        )
        for known, checksum in before:
            if known == label:
                server.replica.command(
                    "INSERT INTO migrations_local (label, checksum) "
                    "SELECT {label:String}, {checksum:String}",
                    {"label": known, "checksum": checksum},
                )


def test_no_output_shows_the_password(settings: Settings, servers: list[schema.Server]) -> None:
    """Neither a plan, nor a view, nor the server's system tables."""
    password = settings.clickhouse_password()
    shown = [
        *(
            text
            for m in migration.load(TABLES.values())
            for text in m.statements(_values(settings))
        ),
        *(str(servers[0].replica.query(f"SHOW CREATE VIEW {name}")[1]) for name in NAMES),
        str(servers[0].replica.query("SELECT * FROM system.named_collections")[1]),
        str(servers[0].replica.query("SELECT * FROM system.tables")[1]),
    ]
    assert not any(password in text for text in shown)


def test_views_can_be_read_after_each_statement_of_a_repeated_migration(
    settings: Settings, servers: list[schema.Server]
) -> None:
    """A mover migrates each server again for each group of days, while dashboards ask."""
    sisters = {1: settings.shards()[1][0]}
    asked = "SELECT count() FROM m1"
    before = servers[0].replica.query(asked)[1]
    for statement in collections(sisters, settings.clickhouse_user, settings.clickhouse_password()):
        servers[0].replica.command(statement)
        assert servers[0].replica.query(asked)[1] == before


def _values(settings: Settings) -> dict[str, str]:
    source = ViewSource(
        database=settings.clickhouse_database, sisters={1: settings.shards()[1][0]}, tables=TABLES
    )
    return migration.variables(source, m1_retention_days=30, replicated=False)


def test_the_statements_for_a_cluster_are_valid_sql(
    settings: Settings, servers: list[schema.Server]
) -> None:
    """chDB has no Keeper to run them with, but it parses them."""
    source = ViewSource(
        database=settings.clickhouse_database, cluster="main", sisters={}, tables=TABLES
    )
    values = migration.variables(source, m1_retention_days=30, replicated=True)
    statements = [text for m in migration.load(TABLES.values()) for text in m.statements(values)]
    assert any("ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/" in s for s in statements)
    assert any("Distributed('main', 'queries', 'm1_local')" in s for s in statements)
    for statement in statements:
        parse(servers, statement)


@pytest.fixture
def declared(settings: Settings) -> Iterator[Callable[[ClickHouseTable], schema.Server]]:
    """The first server, migrated by an app that declares one more table; afterwards the table is
    dropped and the views are restored."""
    made: list[tuple[schema.Server, str]] = []

    def declare(table: ClickHouseTable) -> schema.Server:
        found = schema.servers(settings, {**TABLES, table.name: table})[0]
        made.append((found, table.name))
        return found

    yield declare
    for found, name in made:
        found.replica.command(f"DROP VIEW IF EXISTS {name}")
        found.replica.command(f"DROP TABLE IF EXISTS {name}_local")
        found.replica.command(f"DELETE FROM migrations_local WHERE label = 'T__{name}'")
        found.replica.close()
    server = schema.servers(settings, TABLES)[0]
    server.migrator.apply()
    assert server.migrator.pending() == []
    server.replica.close()


SALES = ClickHouseTable(
    name="sales",
    columns={"account": "LowCardinality(String)", "amount": float},
    order_by=("account",),
    shard_by=("account",),
    description="What was sold.",
)


def test_a_declared_table_is_created_and_extended_by_a_newer_declaration(declared) -> None:
    """Existing rows stay; an added column is empty in them."""
    first = declared(SALES)
    assert first.migrator.apply() == ["T__sales", "R002__views"]
    first.replica.command("INSERT INTO sales_local (account, amount, ver) SELECT 'a', 1.5, 1")
    wider = replace(
        SALES, columns={**SALES.columns, "region": str, "lines": "Array(UInt32)"}, ttl_days=9
    )
    second = declared(wider)
    assert second.migrator.apply() == ["T__sales", "R002__views"]
    _, rows = second.replica.query("SELECT account, amount, region, lines FROM sales_local")
    assert [tuple(row) for row in rows] == [("a", 1.5, "", [])]
    _, ((ddl,),) = second.replica.query("SHOW CREATE TABLE sales_local")
    assert "toIntervalDay(9)" in ddl
    assert second.migrator.apply() == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"columns": {**SALES.columns, "amount": "UInt64"}}, "column amount of sales is Float64"),
        ({"order_by": ("account", "amount")}, r"keeps rows by \(account\)"),
    ],
)
def test_a_changed_key_or_type_of_a_filled_table_is_refused(declared, change, why) -> None:
    """Stored rows cannot change their key or their types: no statement runs."""
    declared(SALES).migrator.apply()
    changed = declared(replace(SALES, **change))
    with pytest.raises(RefusedBySafety, match=why):
        changed.migrator.apply()
    pending = [s.label for s in changed.migrator.standings() if s.state is MigrationState.PENDING]
    assert "T__sales" in pending


def test_a_table_that_the_app_does_not_declare_is_kept(declared, servers) -> None:
    """Its rows belong to the operator; another app of the same database may use it."""
    declared(SALES).migrator.apply()
    assert servers[0].migrator.apply() == ["R002__views"]
    _, ((found,),) = servers[0].replica.query("EXISTS TABLE sales_local")
    assert found == 1
