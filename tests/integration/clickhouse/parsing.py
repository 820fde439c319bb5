"""Statements that the engine parses and does not run."""

from __future__ import annotations

from collections.abc import Sequence

from streams.connect.sinks.schema import Server
from streams.core.rows.clickhouse_table import quoted


def parse(servers: Sequence[Server], statement: str) -> None:
    """Raises `StatementRefused`. EXPLAIN AST cannot do it: the comment of a view is the end of its
    statement."""
    servers[0].replica.query(f"SELECT formatQuery({quoted(statement.rstrip().rstrip(';'))})")
