"""Describes a record type to the kernels by three arrays with a row per field.

``names``: all field names concatenated, and `PADDING` bytes. ``shape``: the columns below.
``bounds``: minimum and maximum of a number.
"""

from __future__ import annotations

from typing import Final

KIND, NAME_AT, NAME_SIZE, COLUMN, NULLABLE, MAY_LACK, LOW, HIGH = range(8)
"""Columns of ``shape``. COLUMN: row of the field in the outputs of its kind. LOW and HIGH: bounds
of an integer, or of a text's length."""
TEXT, WHOLE, NUMBER = range(3)
"""Kinds of fields."""
FIELDS_MAX: Final = 62
"""The scanner notes seen fields in the bits of a word."""
PADDING: Final = 256
"""Unused bytes behind every buffer: a word, or the blocks of a short message
(streams/engine/windows/cmac.py), may be loaded at any byte."""
RECORD_BYTES_MIN: Final = 7
"""Of a record in a Kafka batch: length, attributes, two deltas, two sizes, header count."""
