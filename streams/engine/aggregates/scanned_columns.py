"""Fields of a scanned batch for windows: the values and refusals that field_columns.py gives for its
events. Numbers of a scanned batch are of their declared types, and its texts are UTF-8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from streams.core.records.text_spans import TextSpans
from streams.engine.aggregates.aggregate import FieldType, FieldValues
from streams.engine.aggregates.ends import TEXT_MAX_BYTES
from streams.engine.aggregates.field_columns import Refused
from streams.engine.decode.scanned_events import ScannedFields
from streams.engine.state.table_values import text_bytes


def scanned_values(
    fields: ScannedFields, types: Mapping[str, FieldType], bad: Refused
) -> dict[str, FieldValues]:
    """As `values_of`."""
    return {name: _values(fields, name, kind, bad) for name, kind in types.items()}


def scanned_keys(
    fields: ScannedFields, by: Sequence[str], types: Mapping[str, FieldType], bad: Refused
) -> tuple[TextSpans | NDArray[np.int64], ...]:
    """The fields ``by``, as columns. Rows in ``bad`` have no key."""
    return tuple(_key_column(fields, name, types[name], bad) for name in by)


def _key_column(
    fields: ScannedFields, name: str, kind: FieldType, bad: Refused
) -> TextSpans | NDArray[np.int64]:
    lacking = _lacking(fields, name, kind, bad)
    if kind.kind is str:
        return _texts(fields, name, lacking, bad)
    column: NDArray[np.int64] = fields.filled(name)
    return column


def _values(fields: ScannedFields, name: str, kind: FieldType, bad: Refused) -> FieldValues:
    lacking = _lacking(fields, name, kind, bad)
    present = ~lacking if kind.optional and lacking.any() else None
    if kind.kind is str:
        texts = [text or "" for text in _texts(fields, name, lacking, bad).texts()]
        return FieldValues(texts, present, text_bytes("".join(texts)))
    values = fields.filled(name)
    if kind.kind is not float:
        return FieldValues(values, present)
    numbers = values + 0.0  # -0.0 becomes 0.0
    infinite = ~np.isfinite(numbers)
    if infinite.any():
        _refuse(infinite, f"field {name!r} is not a finite number of 64 bits", bad)
        numbers[infinite] = 0.0
    return FieldValues(numbers, present)


def _lacking(fields: ScannedFields, name: str, kind: FieldType, bad: Refused) -> NDArray[np.bool_]:
    lacking = fields.lacking(name)
    if not kind.optional and lacking.any():
        _refuse(lacking, f"field {name!r} is NoneType, its type is {kind.kind.__name__}", bad)
    return lacking


def _texts(fields: ScannedFields, name: str, lacking: NDArray[np.bool_], bad: Refused) -> TextSpans:
    texts = fields.texts(name)
    for row in np.flatnonzero((texts.size > TEXT_MAX_BYTES) & ~lacking).tolist():
        size = int(texts.size[row])
        bad.setdefault(row, f"field {name!r} has {size} bytes, more than {TEXT_MAX_BYTES}")
    return texts


def _refuse(rows: NDArray[np.bool_], why: str, bad: Refused) -> None:
    for row in np.flatnonzero(rows).tolist():
        bad.setdefault(row, why)
