"""MessagePack by msgspec, with the same types and the same codes of defects as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from streams.core.formats.codec import BatchDecoder, no_other_way, read_all
from streams.core.formats.faust_record import records_of
from streams.core.records.bad_records import EmptyValue, InvalidMessagePack, ValueRefused
from streams.core.records.defects import Defect, defect, mistyped
from streams.core.records.faust_values import is_record, plain


class MessagePackCodec:
    """See the module docstring."""

    name = "msgpack"
    text = False

    def decoder(self, value_type: Any) -> BatchDecoder:
        if is_record(value_type):
            return records_of(value_type, msgspec.msgpack.Decoder().decode, _defect)
        decode = msgspec.msgpack.Decoder(value_type).decode
        return lambda values: read_all(decode, values, no_other_way, _defect)

    def encode(self, event: Any) -> bytes:
        """Raises `ValueRefused` for an integer beyond 64 bits, which MessagePack does not have."""
        try:
            return msgspec.msgpack.encode(plain(event))
        except OverflowError as error:
            raise ValueRefused(f"MessagePack cannot hold the event: {error}") from None


def _defect(value: bytes | None, error: Exception) -> Defect:
    if not value:
        return defect(EmptyValue.code, "$", "expected a MessagePack value, got no value")
    if isinstance(error, msgspec.ValidationError):
        return mistyped(error)
    return defect(InvalidMessagePack.code, "$", f"expected one MessagePack value: {error}")
