"""What is remembered: one partition's tables, and how they are written and restored."""

from tables.declarations import MINUTE_WINDOWS, OUTBOX, SEEN_EVENTS
from tables.table import Table, TableContext, TableSpec

__all__ = ["MINUTE_WINDOWS", "OUTBOX", "SEEN_EVENTS", "Table", "TableContext", "TableSpec"]
