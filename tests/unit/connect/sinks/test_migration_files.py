"""Migration files as text: order, statements and checksums."""

from __future__ import annotations

import re

from agents.app import app
from streams.connect.sinks.migration import FileMigration, TableMigration, load, variables
from streams.connect.sinks.view_source import WINDOWS, ViewSource

TABLES = app.clickhouse_tables

VALUES = {"database": "d", "days": "30"}


def test_versions_run_in_order_then_tables_and_repeatables_last() -> None:
    """Views read tables; a gap or a repeated number points to a forgotten file."""
    found = load(TABLES.values())
    numbers = [m.number for m in found if isinstance(m, FileMigration) and m.once]
    assert numbers == list(range(1, len(numbers) + 1))
    order = ["T" if isinstance(m, TableMigration) else m.label[0] for m in found]
    assert order == sorted(order, key="VTR".index)


def test_every_file_renders_with_the_declared_variables() -> None:
    """A misspelt variable must fail here instead of on a server."""
    source = ViewSource(database="d", sisters={1: "http://a:1"}, tables=TABLES)
    values = variables(source, m1_retention_days=30, replicated=False)
    for migration in load(TABLES.values()):
        statements = migration.statements(values)
        assert statements
        assert not any("${" in statement for statement in statements)


def test_every_table_of_rows_is_synced() -> None:
    """A table of a later file must be as durable as the others."""
    source = ViewSource(database="d", sisters={}, tables=TABLES)
    values = variables(source, m1_retention_days=30, replicated=False)
    text = "\n".join(statement for m in load(TABLES.values()) for statement in m.statements(values))
    synced = set(re.findall(r"EXISTS d\.(\w+)_local\n\([^;]*?fsync_after_insert = 1", text))
    assert synced >= {*WINDOWS, *TABLES}


def test_a_statement_ends_with_its_line() -> None:
    """A semicolon inside a line is text; comments alone make no statement."""
    text = "-- a; b\nSELECT ';' AS a;\n\n-- only a comment;\n\nSELECT 2; -- last\n"
    found = FileMigration("V", 1, "x", text).statements({})
    assert [statement.splitlines()[-1] for statement in found] == ["SELECT ';' AS a", "SELECT 2"]


def test_checksums_cover_the_text_of_a_version_and_the_rendering_of_a_repeatable() -> None:
    """Settings may change a view; the text of an applied version must never change."""
    other = {**VALUES, "days": "60"}
    once = FileMigration("V", 1, "x", "SELECT ${days};\n")
    repeated = FileMigration("R", 1, "x", "SELECT ${days};\n")
    assert once.checksum(VALUES) == once.checksum(other)
    assert repeated.checksum(VALUES) != repeated.checksum(other)
