"""A row as lossless JSON, for its dead letter. Infinities and NaN become the texts ``inf``,
``-inf`` and ``nan``. The reader restores them, and the keys of a Map, by column type."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from streams.core.rows.column_type import ColumnType

TARGET: Final = "table"
"""the field with the name of the table or sink; no column may have this name"""
FIRST_DAYS: Final = "@maps"
"""the field with the first days of the later shard maps of the partition that owed the row; no column can
have this name"""


def row_json(target: str, row: Mapping[str, Any], first_days: Sequence[int] = ()) -> bytes:
    days = {FIRST_DAYS: first_days} if first_days else {}
    return msgspec.json.encode({TARGET: target, **days, **_finite(row)})


def read_row(types: Mapping[str, ColumnType], value: bytes) -> dict[str, Any]:
    """Some columns may be missing. Raises `ValueError` for an unknown column or a value of the
    wrong type."""
    raw = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    row = {}
    for name, text in raw.items():
        if name in (TARGET, FIRST_DAYS):
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
