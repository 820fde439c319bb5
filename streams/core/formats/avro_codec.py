"""Avro with a schema registry, by fastavro.

A body is read with its writer's schema and fitted to the topic's type by field names: unknown
fields are dropped, missing ones take their default, an integer may become a float. With ``schema=``
Avro's own resolution applies. A logical type is read as the declared type: ``timestamp-millis`` as
``int`` or ``datetime``."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, ClassVar, Final
from uuid import UUID

import fastavro
import msgspec
from fastavro._read_common import SchemaResolutionError
from fastavro._read_py import schemaless_reader as python_reader
from fastavro.read import LOGICAL_READERS
from fastavro.schema import SchemaParseException
from fastavro.types import Schema
from msgspec import inspect

from streams.core.errors import UsageError
from streams.core.formats.avro_shapes import endless_items, nests_itself
from streams.core.formats.avro_types import AvroSchema, avro_schema
from streams.core.formats.registry_codec import RegistryCodec, ValueReader, incompatible
from streams.core.formats.schema_source import (
    RegisteredSchema,
    SchemaKind,
    SchemaReference,
    Subject,
)
from streams.core.formats.wire_format import HEADER_BYTES
from streams.core.records.bad_records import BodyUnfit, IncompatibleSchema
from streams.core.records.defects import Defect, defect, mistyped
from streams.core.records.faust_values import is_record, plain

_KEPT: Final = (bytes, datetime, date, time, Decimal, UUID)
"""types that Avro has itself"""
_AS_WRITTEN: Final = (inspect.IntType, inspect.FloatType, inspect.StrType, inspect.BytesType)
"""declared types that take a logical type's underlying value"""


DECIMAL_MAX_BYTES: Final = 1024
"""About 2,400 digits. Decoding a decimal is quadratic in its length: 1 MB takes minutes."""


def _bounded(decimal: Callable[..., Any]) -> Callable[..., Any]:
    def read(data: bytes, *schemas: Any) -> Any:
        if len(data) > DECIMAL_MAX_BYTES:
            raise ValueError(f"a decimal of {len(data)} bytes, of at most {DECIMAL_MAX_BYTES}")
        return decimal(data, *schemas)

    return read


# fastavro has one table per process, which both of its readers use
LOGICAL_READERS |= {
    name: _bounded(decimal)
    for name, decimal in LOGICAL_READERS.items()
    if name.endswith("-decimal")
}


@dataclass(frozen=True)
class Avro:
    """``schema``: to write and read as, in Avro's JSON; default, that of the topic's type.
    ``subject``: default ``{topic}-value``. ``register``: False only looks the schema up.
    ``references``: registered schemas that it names."""

    schema: str | Mapping[str, Any] | None = None
    subject: str = ""
    register: bool = True
    references: tuple[SchemaReference, ...] = ()

    def codec(self, topic: str, value_type: Any) -> AvroCodec:
        """Raises `UsageError` for an unusable schema or type."""
        given = self.schema
        try:
            document: Any = json.loads(given) if isinstance(given, str) else given
            if document is None and value_type is not Any:
                document = avro_schema(value_type)
            parsed = None if document is None else fastavro.parse_schema(document)
        except (SchemaParseException, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"topic {topic}: its Avro schema cannot be used: {error}") from None
        writer = None
        if document is not None:
            name = self.subject or f"{topic}-value"
            writer = Subject(name, "AVRO", json.dumps(document), self.register, self.references)
        return AvroCodec(topic, value_type, writer, parsed, None if given is None else document)


class AvroCodec(RegistryCodec):
    kind: ClassVar[SchemaKind] = "AVRO"
    name = "avro"
    errors = (*RegistryCodec.errors, SchemaResolutionError)

    def __init__(
        self,
        topic: str,
        value_type: Any,
        writer: Subject | None,
        parsed: Schema | None,
        read_as: AvroSchema,
    ) -> None:
        """``read_as``: the reader's schema, if the user gave one."""
        super().__init__(topic, value_type, writer)
        self._parsed = parsed
        self._read_as = read_as

    def check(self, value_type: Any) -> None:
        if value_type is not Any and not is_record(value_type):
            inspect.type_info(value_type)

    def reader(self, value_type: Any, schema: RegisteredSchema) -> ValueReader:
        document = json.loads(schema.text)
        references = [json.loads(text) for _, text in schema.references]
        typed = value_type is not Any and not is_record(value_type)
        info = inspect.type_info(value_type) if typed else None
        document, *references = (_fitted(one, info) for one in (document, *references))
        named: dict[str, Any] = {}
        for one in references:
            fastavro.parse_schema(one, named_schemas=named)
        written = fastavro.parse_schema(document, named_schemas=named)
        read_as = None
        if self._read_as is not None:
            read_as = fastavro.parse_schema(_fitted(self._read_as, info))
        if endless := endless_items(written, named):
            raise incompatible(
                f"the schema has an array of {endless}, which takes no bytes: a body of some bytes "
                f"could have any number of them"
            )
        decode = _decoder(written, read_as, recursive=nests_itself(named))
        return _reader(decode, value_type)

    def body(self, event: Any) -> bytes:
        assert self._parsed is not None, "a codec without a schema has no writer"
        out = io.BytesIO()
        builtins = msgspec.to_builtins(plain(event), builtin_types=_KEPT)
        fastavro.schemaless_writer(out, self._parsed, builtins, strict_allow_default=True)
        return out.getvalue()

    def unfit(self, error: Exception) -> Defect:
        if isinstance(error, msgspec.ValidationError):
            return mistyped(error)
        if isinstance(error, SchemaResolutionError):
            what = f"its schema cannot be read as the topic's: {error}"
            return defect(IncompatibleSchema.code, "$", what)
        what = f"the body is not what its schema describes: {type(error).__name__}: {error}"
        return defect(BodyUnfit.code, "$", what)


def _decoder(
    written: Schema, read_as: Schema | None, *, recursive: bool
) -> Callable[[io.BytesIO], Any]:
    """fastavro's compiled reader has no recursion limit: a deeply nested body would crash the
    process. Its Python reader raises RecursionError."""
    read = python_reader if recursive else fastavro.schemaless_reader
    return lambda body: read(body, written, read_as)


def _reader(decode: Callable[[io.BytesIO], Any], value_type: Any) -> ValueReader:
    def read(value: bytes) -> Any:
        body = io.BytesIO(value)
        body.seek(HEADER_BYTES)
        found = decode(body)
        if body.tell() != len(value):
            raise ValueError(f"{len(value) - body.tell()} bytes follow it")
        return found

    if value_type is Any:
        return read
    if is_record(value_type):
        return lambda value: value_type.from_data(read(value))
    return lambda value: msgspec.convert(read(value), value_type, builtin_types=_KEPT)


def _fitted(schema: AvroSchema, info: inspect.Type | None) -> AvroSchema:
    """Without the logical types whose declared type is a plain one."""
    if isinstance(info, inspect.UnionType):
        members = [one for one in info.types if not isinstance(one, inspect.NoneType)]
        info = members[0] if len(members) == 1 else None
    if isinstance(schema, list):
        return [_fitted(member, info) for member in schema]
    if not isinstance(schema, dict):
        return schema
    fitted = dict(schema)
    if isinstance(info, _AS_WRITTEN):
        fitted.pop("logicalType", None)
    kind = schema.get("type")
    if kind in ("record", "error"):
        types = {one.encode_name: one.type for one in getattr(info, "fields", ())}
        fitted["fields"] = [
            {**one, "type": _fitted(one["type"], types.get(one["name"]))}
            for one in schema["fields"]
        ]
    elif kind == "array":
        fitted["items"] = _fitted(schema["items"], getattr(info, "item_type", None))
    elif kind == "map":
        fitted["values"] = _fitted(schema["values"], getattr(info, "value_type", None))
    elif isinstance(kind, dict | list):
        fitted["type"] = _fitted(kind, info)
    return fitted
