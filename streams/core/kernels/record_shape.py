"""How a record type of scalar fields is described to the kernels: by three arrays, a row a field.

``names``: all field names one after the other, and `PADDING` bytes. ``shape``: the columns below.
``bounds``: the least and the greatest of a number.
"""

from __future__ import annotations

from typing import Final

KIND, NAME_AT, NAME_SIZE, COLUMN, NULLABLE, MAY_LACK, LOW, HIGH = range(8)
"""Columns of ``shape``. COLUMN: row of the field in the outputs of its kind. LOW and HIGH: bounds of a
whole number, or of the length of a text."""
TEXT, WHOLE, NUMBER = range(3)
"""Kinds of fields."""
FIELDS_MAX: Final = 62
"""Bits of a word, in which the scanner notes the fields that it has seen."""
PADDING: Final = 256
"""Bytes that belong to nothing behind every buffer: a word, or the blocks of a short message
(streams/engine/windows/cmac.py), may be loaded at every byte."""
RECORD_BYTES_MIN: Final = 7
"""Of a record of a Kafka batch: length, attributes, two deltas, two sizes, the count of headers."""
