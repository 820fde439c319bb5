"""JSON by msgspec; types are msgspec's, and classes of faust.Record. A whole number may be written
with a fraction of zero."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from streams.core.formats.codec import BatchDecoder, read_all
from streams.core.formats.faust_record import records_of
from streams.core.formats.whole_numbers import decode_whole
from streams.core.records.defects import undecodable
from streams.core.records.faust_values import is_record, plain


class JsonCodec:
    """See the module docstring."""

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
        return msgspec.json.encode(plain(event))


JSON: Final = JsonCodec()
