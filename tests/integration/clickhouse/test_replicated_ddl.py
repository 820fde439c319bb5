"""The engine parses what `dia migrate apply` would run on a replicated cluster."""

from __future__ import annotations

import pytest

from agents.app import app
from streams.connect.sinks.migration import load, variables
from streams.connect.sinks.replica import StatementRefused
from streams.connect.sinks.view_source import ViewSource
from tests.integration.clickhouse.parsing import parse

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
    """No test runs a cluster, so a mistake in the replicated form would first show in production."""
    parse(servers, statement)


def test_the_replicated_form_is_the_one_tested():
    """Otherwise the test above would repeat what the local stack shows."""
    text = "\n".join(STATEMENTS.values())
    assert text.count("ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/dia/") >= 5
    assert text.count("Distributed('dia', 'dia', ") >= 5


def test_a_syntax_error_is_detected(servers):
    planted = next(s for s in STATEMENTS.values() if "ReplicatedReplacing" in s)
    with pytest.raises(StatementRefused):
        parse(servers, planted.replace("ORDER BY (", "ORDER BY (("))
