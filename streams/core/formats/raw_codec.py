"""The bytes themselves: an event is the value, and a record without one is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streams.core.errors import UsageError
from streams.core.formats.codec import BatchDecoder, Read
from streams.core.records.bad_records import EmptyValue
from streams.core.records.defects import defect


class RawCodec:
    """See the module docstring."""

    name = "raw"
    text = False

    def decoder(self, value_type: Any) -> BatchDecoder:
        if value_type is not bytes:
            raise UsageError(
                f"the codec raw gives bytes, not {getattr(value_type, '__name__', value_type)}: "
                f"declare the topic with value_type=bytes, or name another codec."
            )
        return _read

    def encode(self, event: Any) -> bytes:
        return bytes(event)


def _read(values: Sequence[bytes | None]) -> Read:
    if None not in values:
        return Read([*values], {})
    absent = defect(EmptyValue.code, "$", "expected bytes, got no value")
    failed = {index: absent for index, value in enumerate(values) if value is None}
    return Read([value for value in values if value is not None], failed)
