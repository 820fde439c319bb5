"""Avro schemas of declared types, for topics without a schema of their own.

    int            long               list, set, tuple   array
    float          double             dict[str, T]       map
    str            string             X | None           union, null first
    bool           boolean            Enum, Literal      string
    bytes          bytes              datetime           long, timestamp-micros
    Record         record             UUID, date         string, uuid; int, date

An optional field has its default in the schema, so that its readers can read older bodies.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect

from streams.core.errors import UsageError
from streams.core.records.faust_values import is_record

AvroSchema = Any
"""JSON: a name, a list of union members, or a map."""

_PLAIN: Final[Mapping[type, AvroSchema]] = {
    inspect.IntType: "long",
    inspect.FloatType: "double",
    inspect.StrType: "string",
    inspect.BoolType: "boolean",
    inspect.BytesType: "bytes",
    inspect.NoneType: "null",
    inspect.EnumType: "string",
    inspect.DateTimeType: {"type": "long", "logicalType": "timestamp-micros"},
    inspect.DateType: {"type": "int", "logicalType": "date"},
    inspect.UUIDType: {"type": "string", "logicalType": "uuid"},
}


def avro_schema(value_type: Any) -> AvroSchema:
    """Raises `UsageError` for an unsupported type."""
    if is_record(value_type):
        return _of_record(value_type)
    return _Types().of(inspect.type_info(value_type), "it")


def _of_record(record: Any) -> AvroSchema:
    fields = typing.get_type_hints(record)
    shape = msgspec.defstruct(record.__name__, [*fields.items()], kw_only=True)
    return _Types().of(inspect.type_info(shape), "it")


class _Types:
    """Repeated records are referred to by name."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def of(self, info: inspect.Type, where: str) -> AvroSchema:
        if (plain := _PLAIN.get(type(info))) is not None:
            return plain
        if isinstance(info, inspect.StructType | inspect.DataclassType):
            return self._record(info)
        if isinstance(info, inspect.UnionType):
            return self._union(info, where)
        if isinstance(info, inspect.ListType | inspect.SetType | inspect.VarTupleType):
            return {"type": "array", "items": self.of(info.item_type, where)}
        if isinstance(info, inspect.DictType) and isinstance(info.key_type, inspect.StrType):
            return {"type": "map", "values": self.of(info.value_type, where)}
        if isinstance(info, inspect.LiteralType) and all(isinstance(v, str) for v in info.values):
            return "string"
        raise UsageError(
            f"Avro has no schema for {where}, a {type(info).__name__.removesuffix('Type')}. Give the "
            f"codec one: Avro(schema=...)."
        )

    def _record(self, info: inspect.StructType | inspect.DataclassType) -> AvroSchema:
        name = info.cls.__name__
        if name in self._named:
            return name
        self._named.add(name)
        fields = []
        for one in info.fields:
            written: dict[str, Any] = {
                "name": one.encode_name,
                "type": self.of(one.type, f"{name}.{one.name}"),
            }
            if not one.required:
                written |= _default(one, written["type"])
            fields.append(written)
        return {"type": "record", "name": name, "fields": fields}

    def _union(self, info: inspect.UnionType, where: str) -> AvroSchema:
        """Null is first, so that it may be the default."""
        ordered = sorted(info.types, key=lambda one: not isinstance(one, inspect.NoneType))
        members = [self.of(one, where) for one in ordered]
        records = [one for one in info.types if isinstance(one, inspect.StructType)]
        if len(records) > 1:
            raise UsageError(
                f"Avro has no schema for {where}, which is one of several Records: their tag is no part "
                f"of Avro. Give the codec one: Avro(schema=...)."
            )
        return members


def _default(one: inspect.Field, schema: AvroSchema) -> dict[str, Any]:
    """Where Avro allows it: for a union, a value of its first member."""
    if one.default is not msgspec.NODEFAULT:
        value = msgspec.to_builtins(one.default)
    elif one.default_factory in (list, set, tuple):
        value = []
    elif one.default_factory is dict:
        value = {}
    else:
        return {}
    if isinstance(schema, list) and value is not None:
        return {}
    logical = isinstance(schema, dict) and "logicalType" in schema
    return {} if logical or isinstance(value, bytes) else {"default": value}
