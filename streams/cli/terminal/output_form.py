"""The form of a command's data on stdout, option ``-o``."""

from __future__ import annotations

from enum import StrEnum


class OutputForm(StrEnum):
    """TABLE fits the terminal: columns of detail are left out where they do not fit. WIDE has every column,
    a row a line."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    CSV = "csv"
