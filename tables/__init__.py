"""What is remembered: one partition's tables, and how they are written and restored."""

from tables.declarations import (
    FINISHED_OFFSETS,
    MINUTE_WINDOWS,
    MODEL_CARDS,
    OUTBOX,
    OUTCOMES,
    SEEN_EVENTS,
)
from tables.table import Table, TableContext, TableSpec

__all__ = [
    "FINISHED_OFFSETS",
    "MINUTE_WINDOWS",
    "MODEL_CARDS",
    "OUTBOX",
    "OUTCOMES",
    "SEEN_EVENTS",
    "Table",
    "TableContext",
    "TableSpec",
]
