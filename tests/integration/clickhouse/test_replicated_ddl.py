"""What `dia migrate apply` would run on a replicated cluster is what the engine understands."""

from __future__ import annotations

import pytest

from agents.app import app
from streams.connect.sinks.migration import load, variables
from streams.connect.sinks.replica import StatementRefused
from streams.connect.sinks.view_source import ViewSource

TABLES = app.clickhouse_tables
VALUES = variables(
    ViewSource(database="dia", cluster="dia", sisters={}, tables=TABLES),
    m1_retention_days=30,
    replicated=True,
)
STATEMENTS = {
    f"{migration.label}-{number}": statement
    for migration in load(TABLES.values())
    for number, statement in enumerate(migration.statements(VALUES))
}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS.keys())
def test_a_statement_parses(statement, servers):
    """No cluster runs here, so a mistake in the replicated form would first be met in production."""
    servers[0].replica.query(f"EXPLAIN AST {statement}")


def test_the_replicated_form_is_the_one_judged():
    """Else the test above would only repeat what the local stack shows every day."""
    text = "\n".join(STATEMENTS.values())
    assert text.count("ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/dia/") >= 5
    assert text.count("Distributed('dia', 'dia', ") >= 5


def test_a_mistake_would_be_seen(servers):
    """The engine can say no."""
    planted = next(s for s in STATEMENTS.values() if "ReplicatedReplacing" in s)
    with pytest.raises(StatementRefused):
        servers[0].replica.query(f"EXPLAIN AST {planted.replace('ORDER BY (', 'ORDER BY ((')}")
