"""Rows and their targets: ClickHouse tables, sinks, column types."""
