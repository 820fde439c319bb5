"""Two apps in one database: the second one to declare a table is refused before anything is done."""

from __future__ import annotations

import pytest

from agents.app import app as built_in
from streams import App, Record
from streams.connect.sinks.migration import MigrationState, Migrator, variables
from streams.connect.sinks.shard_claim import ShardPlace
from streams.connect.sinks.table_owners import OwnedTables
from streams.connect.sinks.view_source import ViewSource
from streams.core.errors import RefusedBySafety
from streams.core.rows.dated_map import MapIdentity


class Order(Record):
    account: str
    amount: float


def _app(name, *tables):
    app = App(name)
    for table in tables:
        app.clickhouse_table(
            table, columns={"account": str, "amount": float}, order_by=("account",),
            shard_by=("account",),
        )  # fmt: skip
    return app


class Server:
    """A `Replica` that keeps the records of migrations and runs nothing."""

    url = "http://shard:8123"

    def __init__(self):
        self.records = {}
        self.commands = 0

    def query(self, sql, parameters=None):
        if "migrations_local" in sql:
            return [], [(label, checksum, None) for label, checksum in self.records.items()]
        return [], []

    def command(self, sql, parameters=None):
        self.commands += 1
        if "migrations_local" in sql and parameters:
            self.records[parameters["label"]] = parameters["checksum"]

    def create_database(self):
        self.commands += 1

    def claim(self, place):
        self.commands += 1


def _migrator(server, app):
    tables = app.clickhouse_tables
    source = ViewSource(database="dia", cluster="", sisters={}, tables=tables)
    values = variables(source, m1_retention_days=30, replicated=False)
    place = ShardPlace(0, MapIdentity("digest", "map"))
    return Migrator(server, source, values, [], place, [])


def _migrate(server, app):
    topology = app.topology
    return _migrator(server, app).apply(OwnedTables(topology.app, topology.own_tables))


def test_a_table_of_another_app_is_refused_before_anything_is_done():
    """Rows of both would have the same keys, of which ClickHouse keeps one."""
    server = Server()
    _migrate(server, _app("acme", "orders", "items"))
    done = server.commands
    with pytest.raises(RefusedBySafety, match="table orders at http://shard:8123 is of app acme"):
        _migrate(server, _app("beta", "orders"))
    assert server.commands == done


def test_apps_with_other_tables_share_a_database():
    """The operational tables are keyed by group and topic, which no two apps share."""
    server = Server()
    _migrate(server, _app("acme", "orders"))
    assert "T__invoices" in _migrate(server, _app("beta", "invoices"))
    assert "T__orders" not in _migrate(server, _app("acme", "orders"))


def test_an_app_may_declare_more_tables_later():
    """Each is recorded at the first migration that has it."""
    server = Server()
    _migrate(server, _app("acme", "orders"))
    _migrate(server, _app("acme", "orders", "items"))
    with pytest.raises(RefusedBySafety, match="table items"):
        _migrate(server, _app("beta", "items"))


def test_the_minutes_belong_to_one_app():
    """m1, h1 and d1 are made for every app, but rows of two would have the same keys."""
    server = Server()
    _migrate(server, built_in)
    _migrate(server, _app("acme", "orders"))
    other = _app("beta")
    assert not other.topology.own_tables
    with pytest.raises(RefusedBySafety, match=r"table d1 at .* is of app dia"):
        _migrator(server, other).apply(OwnedTables("beta", frozenset({"m1", "h1", "d1"})))


def test_owners_are_no_migrations():
    """An unknown migration would mean that a newer version has migrated the server."""
    server, app = Server(), _app("acme", "orders")
    _migrate(server, app)
    standings = _migrator(server, app).standings()
    assert {standing.state for standing in standings} == {MigrationState.APPLIED}
    assert not any(standing.label.startswith("A__") for standing in standings)
