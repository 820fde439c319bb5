"""Codecs without a schema: JSON and MessagePack by msgspec, and raw bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from streams.core.errors import UsageError
from streams.core.formats.codec import BatchDecoder, Read, no_other_way, read_all
from streams.core.formats.whole_numbers import decode_whole
from streams.core.records.bad_records import EmptyValue, InvalidMessagePack, ValueRefused
from streams.core.records.defects import Defect, defect, mistyped, undecodable
from streams.core.records.faust_values import is_record, plain

_to_json = msgspec.json.Encoder().encode
_to_msgpack = msgspec.msgpack.Encoder().encode


class RawCodec:
    """The event is the value; a record without one is refused."""

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
        """Raises TypeError for anything else than bytes: of a number, `bytes` makes as many zeros."""
        if not isinstance(event, bytes | bytearray | memoryview):
            raise TypeError(f"the codec raw sends bytes, not {type(event).__name__}")
        return bytes(event)


def _read(values: Sequence[bytes | None]) -> Read:
    if None not in values:
        return Read([*values], {})
    absent = defect(EmptyValue.code, "$", "expected bytes, got no value")
    failed = {index: absent for index, value in enumerate(values) if value is None}
    return Read([value for value in values if value is not None], failed)


class MessagePackCodec:
    name = "msgpack"
    text = False

    def decoder(self, value_type: Any) -> BatchDecoder:
        if is_record(value_type):
            return records_of(value_type, msgspec.msgpack.Decoder().decode, _defect)
        decode = msgspec.msgpack.Decoder(value_type).decode
        return lambda values: read_all(decode, values, no_other_way, _defect)

    def encode(self, event: Any) -> bytes:
        """Raises `ValueRefused` for an integer beyond 64 bits, MessagePack's limit."""
        try:
            return _to_msgpack(plain(event))
        except OverflowError as error:
            raise ValueRefused(f"MessagePack cannot hold the event: {error}") from None


def _defect(value: bytes | None, error: Exception) -> Defect:
    if not value:
        return defect(EmptyValue.code, "$", "expected a MessagePack value, got no value")
    if isinstance(error, msgspec.ValidationError):
        return mistyped(error)
    return defect(InvalidMessagePack.code, "$", f"expected one MessagePack value: {error}")


def records_of(
    record: Any,
    decode: Callable[[Any], Any],
    defect_of: Callable[[bytes | None, Exception], Defect],
) -> BatchDecoder:
    def read(value: bytes | None) -> Any:
        return record.from_data(decode(value))

    return lambda values: read_all(read, values, no_other_way, defect_of)


class JsonCodec:
    """Types are msgspec's, and classes of faust.Record. An integer may have a fraction of zero."""

    name = "json"
    text = True

    def decoder(self, value_type: Any) -> BatchDecoder:
        if is_record(value_type):
            return records_of(value_type, msgspec.json.Decoder().decode, undecodable)
        decode = msgspec.json.Decoder(value_type).decode

        def again(value: bytes | None, error: Exception) -> Any:
            return decode_whole(value or b"", value_type, error)

        return lambda values: read_all(decode, values, again, undecodable)

    def encode(self, event: Any) -> bytes:
        return _to_json(plain(event))


JSON: Final = JsonCodec()
