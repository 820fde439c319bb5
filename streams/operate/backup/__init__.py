"""Backups of ClickHouse (docs/protocols/backup.md)."""
