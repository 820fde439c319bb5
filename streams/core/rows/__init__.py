"""Rows and where they may go: ClickHouse tables, sinks, column types."""
