"""Migrations on real servers: once, again when a setting changed, never after a change."""

from __future__ import annotations

import dataclasses

import pytest

from streams.errors import RefusedBySafety
from streams.settings import Settings
from streams.sinks import migration, schema
from streams.sinks.migration import State
from streams.sinks.view_source import COLUMNS, ViewSource

pytestmark = pytest.mark.stack


def test_migrating_again_does_nothing(settings: Settings, servers: list[schema.Server]) -> None:
    """`dia up` and every worker start may run it."""
    for server in servers:
        assert server.migrator.apply() == []
        assert {standing.state for standing in server.migrator.standings()} == {State.APPLIED}


def test_a_changed_setting_runs_its_migration_again(
    settings: Settings, servers: list[schema.Server]
) -> None:
    """Retention is a setting; only the file that names it runs."""
    for days in (60, settings.m1_retention_days):
        changed = dataclasses.replace(settings, m1_retention_days=days)
        server = schema.servers(changed)[0]
        assert server.migrator.apply() == ["R001__retention"]
        _, ((ddl,),) = server.replica.query("SHOW CREATE TABLE m1_local")
        assert f"toIntervalDay({days})" in ddl
        server.replica.close()


def test_every_table_writes_a_part_to_disk_before_it_acknowledges(
    servers: list[schema.Server],
) -> None:
    """What is acknowledged is deleted from the state: a power loss must not take it."""
    for name in COLUMNS:
        _, ((ddl,),) = servers[0].replica.query(f"SHOW CREATE TABLE {name}_local")
        assert "fsync_after_insert = 1, fsync_part_directory = 1" in ddl, name


@pytest.mark.parametrize(("label", "word"), [("V001__windows", "changed"), ("V999__x", "newer")])
def test_a_server_that_ran_something_else_is_refused(
    servers: list[schema.Server], label: str, word: str
) -> None:
    """A changed file, or a server that a newer build migrated: stop before doing harm."""
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


def test_nothing_shows_the_password(settings: Settings, servers: list[schema.Server]) -> None:
    """Neither a plan, nor a view, nor the server's tables about itself."""
    password = settings.clickhouse_password()
    shown = [
        *(text for m in migration.load() for text in m.statements(_values(settings))),
        *(str(servers[0].replica.query(f"SHOW CREATE VIEW {name}")[1]) for name in COLUMNS),
        str(servers[0].replica.query("SELECT * FROM system.named_collections")[1]),
        str(servers[0].replica.query("SELECT * FROM system.tables")[1]),
    ]
    assert not any(password in text for text in shown)


def _values(settings: Settings) -> dict[str, str]:
    source = ViewSource(database=settings.clickhouse_database, sisters={1: settings.shards()[1][0]})
    return migration.variables(source, m1_retention_days=30, replicated=False)


def test_the_statements_for_a_cluster_are_valid_sql(
    settings: Settings, servers: list[schema.Server]
) -> None:
    """chDB has no Keeper to run them with, but it parses them."""
    source = ViewSource(database=settings.clickhouse_database, cluster="main", sisters={})
    values = migration.variables(source, m1_retention_days=30, replicated=True)
    statements = [text for m in migration.load() for text in m.statements(values)]
    assert any("ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/" in s for s in statements)
    assert any("Distributed('main', 'queries', 'm1_local')" in s for s in statements)
    for statement in statements:
        servers[0].replica.query(f"EXPLAIN AST {statement}")
