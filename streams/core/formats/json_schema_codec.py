"""JSON with a JSON Schema in a registry, by jsonschema-rs.

A body is validated against the schema it names, then decoded as plain JSON; a value is validated
before it is sent. ``$ref`` resolves to registered references only."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jsonschema_rs
import msgspec

from streams.core.errors import UsageError
from streams.core.formats.plain_codecs import JSON
from streams.core.formats.registry_codec import RegistryCodec, Unfit, ValueReader
from streams.core.formats.schema_source import (
    RegisteredSchema,
    SchemaKind,
    SchemaReference,
    Subject,
)
from streams.core.formats.wire_format import HEADER_BYTES
from streams.core.records.bad_records import BodyUnfit
from streams.core.records.defects import Defect, bad_utf8, defect, undecodable
from streams.core.records.faust_values import is_record


@dataclass(frozen=True)
class JsonSchema:
    """``schema``: default, that of the topic's type. Other arguments as in `Avro`."""

    schema: str | Mapping[str, Any] | None = None
    subject: str = ""
    register: bool = True
    references: tuple[SchemaReference, ...] = ()

    def codec(self, topic: str, value_type: Any) -> JsonSchemaCodec:
        """Raises `UsageError` for an unusable schema or type."""
        try:
            document = json.loads(self.schema) if isinstance(self.schema, str) else self.schema
            if document is None and value_type is not Any and not is_record(value_type):
                document = msgspec.json.schema(value_type)
            if document is not None and not self.references:
                _validator(document, {})
        except (ValueError, TypeError) as error:
            raise UsageError(f"topic {topic}: its JSON Schema cannot be used: {error}") from None
        writer = None
        if document is not None:
            name = self.subject or f"{topic}-value"
            writer = Subject(name, "JSON", json.dumps(document), self.register, self.references)
        return JsonSchemaCodec(topic, value_type, writer)


class JsonSchemaCodec(RegistryCodec):
    kind: ClassVar[SchemaKind] = "JSON"
    name = "json_schema"

    def __init__(self, topic: str, value_type: Any, writer: Subject | None) -> None:
        super().__init__(topic, value_type, writer)
        self._fits: Callable[[Any], None] | None = None
        if writer is not None and not writer.references:
            self._fits = _validator(json.loads(writer.text), {})

    def check(self, value_type: Any) -> None:
        JSON.decoder(value_type)

    def reader(self, value_type: Any, schema: RegisteredSchema) -> ValueReader:
        fits = _validator(json.loads(schema.text), dict(schema.references))
        decode_all = JSON.decoder(value_type)

        def read(value: bytes) -> Any:
            body = value[HEADER_BYTES:]
            if not body.isascii() and (found := bad_utf8(body)) is not None:
                raise Unfit(found)
            try:
                document = msgspec.json.decode(body)
            except (ValueError, RecursionError) as error:
                raise Unfit(undecodable(body, error)) from None
            fits(document)
            decoded = decode_all([body])
            if decoded.failed:
                raise Unfit(decoded.failed[0])
            return decoded.events[0]

        return read

    def body(self, event: Any) -> bytes:
        body = JSON.encode(event)
        if self._fits is not None:
            self._fits(msgspec.json.decode(body))
        return body

    def unfit(self, error: Exception) -> Defect:
        steps = getattr(error, "instance_path", ())
        path = "$" + "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in steps)
        what = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
        return defect(BodyUnfit.code, path, f"the schema says: {what}")


def _validator(document: Any, references: Mapping[str, str]) -> Callable[[Any], None]:
    """Raises `ValueError` for an invalid schema, or one that refers outside ``references``."""

    def referenced(uri: str) -> Any:
        for name, text in references.items():
            if uri == name or uri.removeprefix("json-schema:///") == name:
                return json.loads(text)
        raise ValueError(f"{uri} is not one of its registered references")

    validator = jsonschema_rs.validator_for(document, retriever=referenced)
    return validator.validate
