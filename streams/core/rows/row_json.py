"""A row as the JSON that its dead letter holds, and read back without a loss.

JSON has no number for infinities and NaN: they are written as the text ``inf``, ``-inf`` and ``nan``. A
reader that knows the types of the columns makes numbers of them again, and of the names of an object
the keys of a Map.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from streams.core.rows.column_type import ColumnType

TARGET: Final = "table"
"""The field that names the table or sink of the row. No column may be called so."""


def row_json(target: str, row: Mapping[str, Any]) -> bytes:
    """The row of a table or sink of that name."""
    return msgspec.json.encode({TARGET: target, **_finite(row)})


def read_row(types: Mapping[str, ColumnType], value: bytes) -> dict[str, Any]:
    """The columns of a row that `row_json` wrote. Raises ValueError for an unknown column, and for a
    value that is not of its column's type. Columns may be missing."""
    raw = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    row = {}
    for name, text in raw.items():
        if name == TARGET:
            continue
        if name not in types:
            raise ValueError(f"it has a column {name!r} that is not declared")
        try:
            row[name] = msgspec.json.decode(text, type=types[name].form, strict=False)
        except ValueError as error:
            raise ValueError(f"column {name!r}: {error}") from None
    return row


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value
