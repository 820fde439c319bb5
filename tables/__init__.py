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

ENGINE_TABLES = frozenset(
    spec.name
    for spec in (
        FINISHED_OFFSETS, MINUTE_WINDOWS, MODEL_CARDS, OUTBOX, OUTCOMES, SEEN_EVENTS,
    )
)  # fmt: skip
"""Names that no table of an app may have."""

__all__ = [
    "ENGINE_TABLES",
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
