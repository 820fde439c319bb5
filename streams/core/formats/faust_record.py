"""Values whose type is a class of faust.Record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streams.core.formats.codec import BatchDecoder, no_other_way, read_all
from streams.core.records.defects import Defect


def records_of(
    record: Any,
    decode: Callable[[Any], Any],
    defect_of: Callable[[bytes | None, Exception], Defect],
) -> BatchDecoder:
    """Reads values with ``decode`` and makes them instances of ``record``."""

    def read(value: bytes | None) -> Any:
        return record.from_data(decode(value))

    return lambda values: read_all(read, values, no_other_way, defect_of)
