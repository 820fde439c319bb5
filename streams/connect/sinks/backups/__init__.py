"""A ClickHouse server that is backed up and restored, and its in-memory form."""
